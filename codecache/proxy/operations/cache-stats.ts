import type { MetadataStats } from '../metadata/renewal.ts';
import type { DiskUsage } from '../objects/local-keeper.ts';
import type { MemoryStats } from '../objects/memory-tier.ts';
import { mergeUpstreamStats } from '../upstreams/upstream-stats.ts';
import type { UpstreamStats } from '../upstreams/upstream-stats.ts';

/** Answers by what became of them; `requests` of {@link CacheStats} has them apart by kind and status, too. */
export interface Counters {
  hits: number;
  misses: number;
  /** Answered from the store after the upstream confirmed it. */
  revalidated: number;
  /** Answered from the store because every upstream failed. */
  stale: number;
  /** Asked for something that another client was already fetching. */
  joined: number;
  refused: number;
  failed: number;
  /** Answers whose connection ended before they did. */
  cut: number;
  bytesServed: number;
}

/** Seconds from a request to the end of its answer: how many took at most as long as each of {@link BUCKETS}. */
export interface Latency {
  /** One more than there are buckets; the last is for everything slower. Not cumulative. */
  counts: number[];
  sum: number;
}

/** What one process, or all of them together, counted since their start and hold now: the body of `/stats`. */
export interface CacheStats extends Counters {
  upSeconds: number;
  /** How many processes these are the numbers of. */
  processes: number;
  /** Processes that did not say theirs in time. */
  missing: number;
  /** Processes that ended by accident and were replaced. */
  replaced: number;
  connections: number;
  /** Answers under way, without those of hits from memory. */
  inFlight: number;
  /** Processes whose disk takes nothing now: they answer from memory and from upstreams. */
  degraded: number;
  /** Processes that /readyz calls not ready. */
  notReady: number;
  /** Objects that are being fetched, and the memory that their bodies take. */
  flights: { objects: number; bytes: number };
  /** Received from upstreams and siblings, in bodies. */
  bytesFetched: number;
  /** By kind of name, how it was answered and status: `hash-named hit 200`. */
  requests: Record<string, number>;
  /** By how it was answered. */
  latency: Record<string, Latency>;
  /** Lines of the access log that could not be written. */
  lostLines: number;
  /** On disk: the same for all processes. */
  disk: DiskUsage;
  /** Times that the disk failed to read or write. */
  diskFailures: number;
  /** Objects in memory, all processes together. */
  memory: MemoryStats;
  /** Metadata in memory, all processes together. */
  answers: { answers: number; bytes: number };
  /** What became of metadata before it was kept, and of requests to go past the cache. */
  metadata: MetadataStats;
  upstreams: UpstreamStats[];
}

/** Upper bounds of the latency buckets, in seconds. */
export const BUCKETS: readonly number[] = [0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1, 5, 30, 120];

/** What a process says of the disk that another one keeps. */
export const NOTHING_KEPT: DiskUsage = { objects: 0, bytes: 0, pinned: 0, pinnedBytes: 0, evicted: 0 };

/** The numbers of several processes of one cache as those of one: counts are added up, what they share is not. */
export function mergeStats(all: readonly CacheStats[]): CacheStats {
  const [first, ...rest] = all;
  return rest.reduce(merge, first!);
}

const merge = (a: CacheStats, b: CacheStats): CacheStats => ({
  ...(addNumbers({ ...a }, { ...b }) as unknown as CacheStats),
  upSeconds: Math.max(a.upSeconds, b.upSeconds),
  upstreams: mergeUpstreamStats([a.upstreams, b.upstreams]),
});

/** What an ended process counted, without what it held: so that sums over all processes only ever grow. */
export const pastOf = (stats: CacheStats): CacheStats => ({
  ...stats,
  processes: 0,
  connections: 0,
  inFlight: 0,
  degraded: 0,
  notReady: 0,
  flights: { objects: 0, bytes: 0 },
  memory: { ...stats.memory, objects: 0, bytes: 0 },
  answers: { answers: 0, bytes: 0 },
  disk: NOTHING_KEPT,
  upstreams: stats.upstreams.map(upstream => ({
    ...upstream,
    healthy: true,
    trusted: true,
    restsSeconds: 0,
    running: 0,
    queued: 0,
  })),
});

function addNumbers(a: Record<string, unknown>, b: Record<string, unknown>): Record<string, unknown> {
  const sum: Record<string, unknown> = { ...a };
  for (const [name, value] of Object.entries(b)) {
    const before = a[name];
    if (before === undefined) sum[name] = value;
    else if (typeof value === 'number') sum[name] = (before as number) + value;
    else if (Array.isArray(value))
      sum[name] = value.map((one, index) => (one as number) + ((before as number[])[index] ?? 0));
    else if (typeof value === 'object' && value !== null)
      sum[name] = addNumbers(before as Record<string, unknown>, value as Record<string, unknown>);
  }
  return sum;
}
