import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judge, summary } from '../../../../../ops/bench/stampede/judge.ts';
import type { Outcome } from '../../../../../ops/bench/stampede/judge.ts';

const crowd = {
  complete: 95,
  slow: 5,
  left: 5,
  failed: 0,
  failures: [],
  bytes: 3e9,
  secondsMedian: 4,
  secondsLast: 9,
};
const good: Outcome = {
  clients: 200,
  megabytes: 30,
  crowds: [crowd, crowd],
  caches: [
    { url: 'http://a', peakBytes: [200e6] },
    { url: 'http://b', peakBytes: [210e6] },
  ],
  processes: 1,
  sentByOrigin: 2,
};

test('A stampede that was held is held', () => {
  assert.deepEqual(judge(good), []);
  assert.match(
    summary(good, []),
    /190, 10 of them slow readers[\s\S]*sent by the store +2 times[\s\S]*All of it holds/,
  );
});

test('Each thing that does not hold is named', () => {
  const bad: Outcome = {
    ...good,
    crowds: [crowd, { ...crowd, complete: 92, failed: 2, failures: ['client 3: wrong bytes at 0'] }],
    caches: [good.caches[0]!, { url: 'http://b', peakBytes: [100e6, 301e6] }],
    sentByOrigin: 3,
  };
  const failures = judge(bad);
  assert.deepEqual(
    failures.map(text => text.replace(/:.*/, '')),
    [
      '2 clients failed',
      '199 clients of 200 came back',
      'the store sent the object 3 times to 2 processes of caches',
      'a process of http',
    ],
  );
  assert.match(failures[0]!, /client 3: wrong bytes/);
  assert.match(failures[3]!, /http:\/\/b took 301 MB/);
  assert.match(summary(bad, failures), /FAILED: 2 clients failed/);
});
