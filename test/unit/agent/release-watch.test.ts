import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { keepUp } from '../../../agent/upkeep.ts';
import { ReleaseWatch } from '../../../agent/release-watch.ts';
import type { Answer } from '../../../agent/release-watch.ts';
import type { Clock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import type { Floors } from '../../../lib/protocol/release.ts';

const FLOORS: Floors = { root: 1, timestamp: 9, snapshot: 1, channelSerials: {}, signedTimeMs: 0 };

/** A clock that stands still until it is moved; what sleeps is woken when its time has come. */
function handClock() {
  let nowMs = 0;
  const sleepers = new Set<{ atMs: number; wake: () => void }>();
  const clock: Clock = {
    now: () => nowMs,
    monotonic: () => nowMs,
    sleep: (milliseconds, signal) =>
      new Promise((resolve, reject) => {
        const sleeper = { atMs: nowMs + milliseconds, wake: resolve };
        sleepers.add(sleeper);
        signal?.addEventListener('abort', () => {
          sleepers.delete(sleeper);
          reject(signal.reason as Error);
        });
      }),
  };
  const move = async (seconds: number) => {
    nowMs += seconds * 1000;
    for (const sleeper of sleepers) {
      if (sleeper.atMs > nowMs) continue;
      sleepers.delete(sleeper);
      sleeper.wake();
    }
    await turn();
  };
  return { clock, move, sleepers };
}

function watchOf(answer: () => Promise<Partial<Answer>>) {
  const hand = handClock();
  const asked: (Floors | null)[] = [];
  const watch = new ReleaseWatch({
    ask: async ({ floors }) => {
      asked.push(floors);
      return { mineYanked: false, mineKilled: false, channelSerial: 4, cache: 'a', ...(await answer()) };
    },
    floors: () => FLOORS,
    clock: hand.clock,
    log: silentLog,
  });
  return { ...hand, watch, asked };
}

describe('the watch over the release that runs', () => {
  test('between payloads the store is asked only when the last answer is old, with the newest floors', async () => {
    const { watch, asked, move } = watchOf(async () => ({}));
    await watch.lookBetweenPayloads();
    await move(59);
    await watch.lookBetweenPayloads();
    assert.equal(asked.length, 0, 'the wrapper asked a moment ago');
    await move(1);
    await watch.lookBetweenPayloads();
    await watch.lookBetweenPayloads();
    assert.deepEqual(asked, [FLOORS]);
    assert.equal(watch.standing, 'in force');
  });

  test('a store that does not answer holds nothing up for longer than 15 s, and ends nothing', async () => {
    let answer: (value: Partial<Answer>) => void = () => undefined;
    const { watch, asked, move } = watchOf(
      () =>
        new Promise(resolve => {
          answer = resolve;
        }),
    );
    await move(60);
    let waiting = true;
    const looked = watch.lookBetweenPayloads().then(() => {
      waiting = false;
    });
    await move(14);
    assert.equal(waiting, true);
    await move(1);
    await looked;
    assert.equal(watch.standing, 'in force');
    void watch.look();
    assert.equal(asked.length, 1, 'one question at a time');
    answer({ mineYanked: true });
    await turn();
    assert.equal(watch.standing, 'withdrawn', 'a late answer counts');
  });

  test('a store that fails ends nothing, and is asked again', async () => {
    let failing = true;
    const { watch, asked } = watchOf(async () => {
      if (failing) throw new Error('no cache answers');
      return { mineYanked: true, mineKilled: true };
    });
    await watch.look();
    assert.equal(watch.standing, 'in force');
    failing = false;
    await watch.look();
    assert.deepEqual([watch.standing, watch.withdrawn.aborted, watch.killed.aborted], ['killed', true, true]);
    assert.match(String(watch.killed.reason), /serial 4/);
    await watch.look();
    assert.equal(asked.length, 2, 'nothing is left to ask');
  });

  test('a withdrawn release may be killed later, never the other way', () => {
    const { watch } = watchOf(async () => ({}));
    watch.note('withdrawn', 'first');
    assert.deepEqual([watch.standing, watch.killed.aborted], ['withdrawn', false]);
    watch.note('killed', 'second');
    watch.note('withdrawn', 'third');
    assert.deepEqual([watch.standing, watch.killed.reason], ['killed', 'second']);
  });
});

test('upkeep comes about as often as it is told to, spread out, until it is stopped', async () => {
  const { clock, move, sleepers } = handClock();
  const stop = new AbortController();
  let runs = 0;
  const ended = keepUp({ everySeconds: 100, clock, signal: stop.signal }, async () => {
    runs += 1;
  });
  const pauses: number[] = [];
  for (let round = 0; round < 50; round += 1) {
    const [sleeper] = sleepers;
    pauses.push((sleeper!.atMs - clock.now()) / 1000);
    await move(pauses.at(-1)!);
  }
  assert.equal(runs, 50);
  assert.ok(Math.min(...pauses) >= 50 && Math.max(...pauses) <= 150);
  assert.ok(
    Math.max(...pauses) - Math.min(...pauses) > 20,
    'pilots of one batch do not ask at the same time',
  );
  stop.abort();
  await ended;
  assert.equal(runs, 50);
});
