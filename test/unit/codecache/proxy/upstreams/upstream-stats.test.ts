import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../../../../lib/log.ts';
import { mergeUpstreamStats } from '../../../../../codecache/proxy/upstreams/upstream-stats.ts';
import { Upstream } from '../../../../../codecache/proxy/upstreams/upstream.ts';
import { movableClock } from './movable-clock.ts';

test('what several processes saw of one upstream is one upstream', async () => {
  const clock = movableClock();
  const make = (url: string, sibling = false) =>
    new Upstream({ url, sibling, clock, log: silentLog, queueSeconds: 1 });
  const [one, two, other] = [make('http://a'), make('http://a'), make('http://b')];
  const sibling = make('http://a', true);
  one.blame('targets/x', 'this', 'that');
  one.failed('targets/x', 'status 500');
  await clock.advance(1000);
  two.blame('targets/y', 'this', 'that');
  two.counted.requests = 3;
  one.counted.requests = 4;
  two.health.failed(two.health.begin()!);
  const merged = mergeUpstreamStats([
    [one.stats(), other.stats()],
    [two.stats(), other.stats(), sibling.stats()],
  ]);
  assert.deepEqual(
    merged.map(({ url, role }) => `${role} ${url}`),
    ['upstream http://a', 'upstream http://b', 'sibling http://a'],
  );
  const [a] = merged;
  assert.equal(a!.requests, 7);
  assert.equal(a!.failures, 1);
  assert.equal(a!.blamed, 2);
  assert.equal(a!.healthy, false);
  assert.equal(a!.trusted, false);
  assert.equal(a!.lastBlame!.object, 'targets/y');
  assert.deepEqual(
    a!.blames.map(({ object }) => object),
    ['targets/x', 'targets/y'],
  );
  assert.equal(a!.lastFailure!.found, 'status 500');
});
