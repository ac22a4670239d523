import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseWrk } from '../../../../../ops/bench/cache/wrk.ts';

const good = {
  requests: 1000,
  seconds: 2.01,
  bytes: 1_300_000,
  p50Ms: 0.4,
  p99Ms: 1.2,
  wrong: 0,
  found: '',
  failed: 0,
};
const output = (result: object) =>
  `Running 2s test @ http://127.0.0.1:1\n  1 threads and 32 connections\n${JSON.stringify(result)}\n`;

test('The result is read from what wrk prints', () => {
  assert.deepEqual(parseWrk(output(good)), good);
});

test('One wrong answer, one failed request or none at all is no result', () => {
  assert.throws(
    () => parseWrk(output({ ...good, wrong: 1, found: 'X-Cache MISS' })),
    /a wrong answer: X-Cache MISS/,
  );
  assert.throws(() => parseWrk(output({ ...good, failed: 3 })), /3 of 1000 requests failed/);
  assert.throws(() => parseWrk(output({ ...good, requests: 0 })), /no request was answered/);
  assert.throws(() => parseWrk('unable to connect'), /no result: unable to connect/);
});
