import { test } from 'node:test';
import assert from 'node:assert/strict';
import { NOTHING_KEPT } from '../../../../../codecache/proxy/operations/cache-stats.ts';
import type { CacheStats } from '../../../../../codecache/proxy/operations/cache-stats.ts';
import { StatsSum } from '../../../../../codecache/proxy/operations/stats-sum.ts';
import { cacheMetrics } from '../../../../../codecache/proxy/operations/cache-metrics.ts';

const stats = (changes: Partial<CacheStats> = {}): CacheStats => ({
  hits: 10,
  misses: 1,
  revalidated: 0,
  stale: 0,
  joined: 0,
  refused: 0,
  failed: 0,
  cut: 0,
  bytesServed: 1000,
  bytesFetched: 100,
  upSeconds: 5,
  processes: 1,
  missing: 0,
  replaced: 0,
  connections: 3,
  inFlight: 1,
  degraded: 0,
  diskFailures: 0,
  notReady: 0,
  flights: { objects: 1, bytes: 64 },
  requests: { 'root hit 200': 10 },
  latency: { hit: { counts: [9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], sum: 0.5 } },
  lostLines: 0,
  disk: NOTHING_KEPT,
  memory: { objects: 2, bytes: 128, hits: 4, evicted: 5 },
  answers: { answers: 3, bytes: 96 },
  metadata: { checked: 4, unchecked: 1, forcedRenewals: 2, refusedRenewals: 3, staleServed: 5 },
  upstreams: [],
  ...changes,
});

test('processes are added up, with every key that any of them has', () => {
  const sum = new StatsSum();
  sum.heard(1, stats());
  sum.heard(2, stats({ requests: { 'root hit 200': 5, 'root stale 200': 1 }, upSeconds: 9 }));
  const total = sum.total()!;
  assert.deepEqual(total.requests, { 'root hit 200': 15, 'root stale 200': 1 });
  assert.deepEqual(total.latency.hit, { counts: [18, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0], sum: 1 });
  assert.deepEqual(
    [total.processes, total.hits, total.connections, total.upSeconds, total.memory.bytes],
    [2, 20, 6, 9, 256],
  );
});

test('what a process counted outlives it, what it held does not: no counter ever falls', () => {
  const sum = new StatsSum();
  assert.equal(sum.total(), undefined);
  sum.heard(1, stats());
  sum.heard(2, stats());
  sum.ended(1);
  sum.ended(7);
  const total = sum.total()!;
  assert.deepEqual([total.hits, total.bytesServed, total.requests['root hit 200']], [20, 2000, 20]);
  assert.deepEqual(
    [total.processes, total.connections, total.inFlight, total.memory.objects, total.flights.objects],
    [1, 3, 1, 2, 1],
  );
  sum.heard(3, stats());
  sum.ended(2);
  assert.equal(sum.total()!.hits, 30);
});

test('the text for Prometheus has cumulative buckets, a sum and a count', () => {
  const text = cacheMetrics(stats());
  assert.match(text, /^pilotage_cache_requests_total\{kind="root",how="hit",status="200"\} 10$/m);
  assert.match(text, /^pilotage_cache_request_seconds_bucket\{how="hit",le="0.0005"\} 9$/m);
  assert.match(text, /^pilotage_cache_request_seconds_bucket\{how="hit",le="0.001"\} 10$/m);
  assert.match(text, /^pilotage_cache_request_seconds_bucket\{how="hit",le="\+Inf"\} 10$/m);
  assert.match(text, /^pilotage_cache_request_seconds_sum\{how="hit"\} 0.5$/m);
  assert.match(text, /^pilotage_cache_request_seconds_count\{how="hit"\} 10$/m);
  assert.match(text, /^pilotage_cache_saved_bytes 900$/m);
  const metadata = [...text.matchAll(/^pilotage_cache_metadata_(\S+) (\d+)$/gm)].map(([, name, n]) => [
    name,
    n,
  ]);
  assert.deepEqual(metadata, [
    ['fetched_total{compared="yes"}', '4'],
    ['fetched_total{compared="no"}', '1'],
    ['past_cache_total{sent="yes"}', '2'],
    ['past_cache_total{sent="no"}', '3'],
    ['stale_total', '5'],
  ]);
  for (const line of text.trimEnd().split('\n'))
    assert.match(line, /^(# (HELP|TYPE) \S+ .+|[a-z_]+(\{([a-z]+="[^"\\\n]*",?)+\})? -?[\d.e+-]+)$/);
});
