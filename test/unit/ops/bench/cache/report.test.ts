import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sample } from '../../../../../ops/bench/cache/measure.ts';
import { median, mediansOf, ratiosOf, tables } from '../../../../../ops/bench/cache/report.ts';
import type { Samples } from '../../../../../ops/bench/cache/report.ts';

const sample = (requestsPerCpuSecond: number, p99Ms = 1): Sample => ({
  requests: 100,
  cpuSeconds: 1,
  requestsPerCpuSecond,
  requestsPerSecond: 10,
  p50Ms: 0.5,
  p99Ms,
});
const rounds = (...values: number[]) => values.map(value => sample(value));

const samples: Samples = {
  hit1k: { ours: rounds(90, 10, 40), squid: rounds(30, 10, 20), nginx: rounds(100, 20, 40) },
  hit1m: {
    ours: rounds(8, 8, 8),
    ours_disk: rounds(3, 3, 3),
    squid: rounds(2, 2, 2),
    nginx: rounds(16, 16, 16),
  },
  two1k: { ours_two: rounds(5, 6, 7), squid_two: rounds(5, 3, 7) },
  paced1k: { ours: [sample(1, 3)], squid: [sample(1, 2)], nginx: [sample(1, 1)] },
};

test('A ratio is the median of the rounds, each compared within itself', () => {
  assert.deepEqual(ratiosOf(samples), {
    hit1k_vs_squid: 2,
    hit1k_vs_nginx: 0.9,
    hit1m_vs_squid: 4,
    hit1m_vs_nginx: 0.5,
    disk1m_vs_squid_memory: 1.5,
    two_process_vs_squid_smp: 1,
    p99_vs_squid: 1.5,
  });
});

test('What was not measured has no ratio', () => {
  const few = { hit1k: { ours: rounds(1), nginx: rounds(2) }, hit1m: {}, two1k: {}, paced1k: {} };
  assert.deepEqual(ratiosOf(few), { hit1k_vs_nginx: 0.5 });
});

test('A median of an even number is between the two in the middle', () => {
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(mediansOf(samples).hit1k!.squid!.requestsPerCpuSecond, 20);
});

test('The tables say what is reached and what is not', () => {
  const text = tables(samples);
  assert.match(text, /hit1k_vs_squid +2\.00 +at least 1\.5 +yes/);
  assert.match(text, /hit1m_vs_nginx +0\.50 +at least 0\.9 +NO/);
  assert.match(text, /p99_vs_squid +1\.50 +at most 1 +NO/);
});
