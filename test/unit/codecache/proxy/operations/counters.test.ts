import { test } from 'node:test';
import assert from 'node:assert/strict';
import type { Answered } from '../../../../../codecache/http/observe-answer.ts';
import { TrafficCounters } from '../../../../../codecache/proxy/operations/counters.ts';

const answered = (changes: Partial<Answered>): Answered => ({
  remote: '-',
  method: 'GET',
  target: '/metadata/timestamp.json',
  status: 200,
  bytes: 100,
  milliseconds: 0.1,
  complete: true,
  ...changes,
});

test('every answer is counted once, by kind, how and status', () => {
  const counters = new TrafficCounters();
  const sha = 'a'.repeat(64);
  for (const [changes, key] of [
    [{ target: `/targets/pilot/1/${sha}.p.tar.gz`, cache: 'HIT' }, 'hash-named hit 200'],
    [{ target: `http://o:1/targets/pilot/${sha}.p`, cache: 'JOINED', status: 206 }, 'hash-named joined 206'],
    [{ cache: 'REVALIDATED' }, 'timestamp revalidated 200'],
    [{ cache: 'STALE' }, 'timestamp stale 200'],
    [{ target: '/metadata/2.root.json', cache: 'MISS', status: 404 }, 'root miss 404'],
    [{ target: '/metadata/2.snapshot.json', status: 502 }, 'versioned failed 502'],
    [{ target: '/metadata/2.snapshot.json', status: 508 }, 'versioned refused 508'],
    [{ target: '/readyz', status: 503 }, 'service served 503'],
    [{ target: '-', status: 400, complete: false }, 'none refused 400'],
  ] as const) {
    counters.count(answered(changes));
    assert.equal(counters.read().requests[key], 1, key);
  }
  const { requests, latency, ...sums } = counters.read();
  assert.equal(Object.keys(requests).length, 9);
  assert.deepEqual(sums, {
    hits: 1,
    misses: 1,
    revalidated: 1,
    stale: 1,
    joined: 1,
    refused: 2,
    failed: 1,
    cut: 1,
    bytesServed: 900,
  });
  assert.equal(latency.refused!.counts[0], 2);
});

test('a latency is counted in the first bucket that holds it', () => {
  const counters = new TrafficCounters();
  for (const milliseconds of [0.5, 0.6, 1000, 1001, 1e6])
    counters.count(answered({ cache: 'HIT', milliseconds }));
  const { counts, sum } = counters.read().latency.hit!;
  assert.deepEqual(counts, [1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1]);
  assert.ok(Math.abs(sum - 1002.0021) < 1e-6);
});
