import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UpstreamHealth } from '../../../../../codecache/proxy/upstreams/upstream-health.ts';
import type { FailedHow } from '../../../../../codecache/proxy/upstreams/upstream-health.ts';
import { movableClock } from './movable-clock.ts';

function healthAt(random = 0.5) {
  const clock = movableClock();
  const health = new UpstreamHealth(clock, () => random);
  return { clock, health, fail: (how?: FailedHow) => health.failed(health.begin()!, how) };
}

test('rests are 2 s, doubling to 10 s, a quarter more or less', async () => {
  for (const [random, factor] of [
    [0, 0.75],
    [0.5, 1],
  ] as const) {
    const { clock, health, fail } = healthAt(random);
    for (const seconds of [2, 4, 8, 10, 10]) {
      fail();
      assert.equal(health.restsMs, seconds * 1000 * factor);
      assert.equal(health.ready, false);
      await clock.advance(health.restsMs);
      assert.equal(health.ready, true);
    }
  }
});

test('of fifty requests that fail at once one counts, and news of before is no news', async () => {
  const { clock, health, fail } = healthAt();
  const turns = Array.from({ length: 50 }, () => health.begin()!);
  for (const turn of turns) health.failed(turn);
  assert.equal(health.restsMs, 2000);
  await clock.advance(2000);
  const late = turns[0]!;
  health.worked(health.begin()!);
  assert.equal(health.state, 'well');
  health.failed(late);
  assert.equal(health.state, 'well', 'it began before the upstream was known to be back');
  fail();
  assert.equal(health.state, 'resting');
});

test('after the rest exactly one request probes; the others follow when it has worked', async () => {
  const { clock, health, fail } = healthAt();
  fail();
  await clock.advance(2000);
  const probe = health.begin()!;
  assert.equal(probe.probe, true);
  assert.equal(health.state, 'probed');
  assert.equal(health.ready, false);
  assert.equal(health.begin(), undefined);
  let told = false;
  void health.verdict.then(() => (told = true));
  health.worked(probe);
  await clock.advance(0);
  assert.ok(told);
  assert.equal(health.begin()!.probe, false);
  health.failed(probe);
  assert.equal(health.state, 'resting', 'a probe that breaks off later is a failure like any other');
});

test('a probe that tells nothing makes room for the next', async () => {
  const { clock, health, fail } = healthAt();
  fail();
  await clock.advance(2000);
  health.abandoned(health.begin()!);
  assert.equal(health.begin()!.probe, true);
});

test('with nothing else to ask it is tried before its rest is over: at once, then ever less often', async () => {
  const { clock, health, fail } = healthAt();
  fail();
  for (const spacing of [100, 200, 400, 800, 1000, 1000]) {
    const turn = health.begin()!;
    assert.equal(turn.probe, true);
    assert.equal(health.begin(), undefined, 'one at a time');
    health.failed(turn);
    assert.equal(health.nextTryMs, spacing);
    assert.equal(health.begin(), undefined);
    await clock.advance(spacing);
  }
  health.worked(health.begin()!);
  assert.equal(health.state, 'well');
});

test('one that answers with errors may be tried by all when there is nothing else', () => {
  const { health, fail } = healthAt();
  fail({ answered: true });
  fail({ answered: true });
  fail({ answered: true });
  assert.equal(health.ready, false);
  const [first, second] = [health.begin()!, health.begin()!];
  assert.deepEqual([first.probe, second.probe], [true, false]);
  health.worked(second);
  assert.equal(health.state, 'well');
});

test('Retry-After is its own word: kept to for up to 300 s, and for 10 s even with nothing else to ask', async () => {
  const { clock, health, fail } = healthAt();
  fail({ retryAfterMs: 7000 });
  assert.equal(health.restsMs, 7000);
  assert.equal(health.askedMs, 7000);
  assert.equal(health.begin(), undefined);
  await clock.advance(7000);
  health.worked(health.begin()!);
  fail({ retryAfterMs: 86_400_000 });
  assert.equal(health.restsMs, 300_000);
  await clock.advance(9999);
  assert.equal(health.begin(), undefined);
  await clock.advance(1);
  assert.equal(health.begin()!.probe, true);
});
