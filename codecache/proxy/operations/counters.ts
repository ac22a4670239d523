import type { Answered } from '../../http/observe-answer.ts';
import { BUCKETS } from './cache-stats.ts';
import type { CacheStats, Counters, Latency } from './cache-stats.ts';

const KIND = { timestamp: 0, root: 1, versioned: 2, 'hash-named': 3, service: 4, none: 5 } as const;
const HOW = {
  hit: 0,
  joined: 1,
  miss: 2,
  revalidated: 3,
  stale: 4,
  /** What a cache says of itself, and the like. */
  served: 5,
  refused: 6,
  failed: 7,
} as const;
const KINDS = Object.keys(KIND);
const HOWS = Object.keys(HOW);
const STATUSES = 600;
const LATENCIES = BUCKETS.length + 1;
const BY_X_CACHE: ReadonlyMap<string, number> = new Map(
  Object.entries(HOW).map(([how, index]) => [how.toUpperCase(), index]),
);
const SERVICE_TARGETS: ReadonlySet<string> = new Set(['/livez', '/readyz', '/drainz', '/stats', '/metrics']);

/**
 * Counts the answers of one process, whichever path gave them. Hits come by the hundred thousand a second: everything is
 * a number in an array that is there from the start.
 */
export class TrafficCounters {
  readonly #requests = new Float64Array(KINDS.length * HOWS.length * STATUSES);
  readonly #latency = new Float64Array(HOWS.length * LATENCIES);
  readonly #seconds = new Float64Array(HOWS.length);
  #cut = 0;
  #bytes = 0;

  count(answered: Answered): void {
    const kind = kindOf(answered.target);
    const how = kind === KIND.service ? HOW.served : howOf(answered);
    this.#requests[(kind * HOWS.length + how) * STATUSES + answered.status]! += 1;
    const seconds = answered.milliseconds / 1000;
    let bucket = 0;
    while (bucket < BUCKETS.length && seconds > BUCKETS[bucket]!) bucket += 1;
    this.#latency[how * LATENCIES + bucket]! += 1;
    this.#seconds[how]! += seconds;
    this.#bytes += answered.bytes;
    if (!answered.complete) this.#cut += 1;
  }

  read(): Counters & Pick<CacheStats, 'requests' | 'latency'> {
    const requests: Record<string, number> = {};
    const sums = HOWS.map(() => 0);
    for (const [index, count] of this.#requests.entries()) {
      if (count === 0) continue;
      const row = Math.floor(index / STATUSES);
      const how = row % HOWS.length;
      requests[`${KINDS[Math.floor(row / HOWS.length)]} ${HOWS[how]} ${index % STATUSES}`] = count;
      sums[how]! += count;
    }
    const latency: Record<string, Latency> = {};
    for (const [index, how] of HOWS.entries()) {
      if (sums[index] === 0) continue;
      const from = index * LATENCIES;
      latency[how] = {
        counts: Array.from(this.#latency.subarray(from, from + LATENCIES)),
        sum: this.#seconds[index]!,
      };
    }
    return {
      hits: sums[HOW.hit]!,
      misses: sums[HOW.miss]!,
      revalidated: sums[HOW.revalidated]!,
      stale: sums[HOW.stale]!,
      joined: sums[HOW.joined]!,
      refused: sums[HOW.refused]!,
      failed: sums[HOW.failed]!,
      cut: this.#cut,
      bytesServed: this.#bytes,
      requests,
      latency,
    };
  }
}

function howOf({ cache, status }: Answered): number {
  if (cache === 'HIT') return HOW.hit;
  const how = cache === undefined ? undefined : BY_X_CACHE.get(cache);
  if (how !== undefined) return how;
  // 508 is the doing of whoever made a circle of caches.
  if (status >= 500 && status !== 508) return HOW.failed;
  return status >= 400 ? HOW.refused : HOW.served;
}

/** By the looks of a request target, in origin or absolute form; what it really names is judged elsewhere. */
function kindOf(target: string): number {
  if (target.includes('/targets/')) return KIND['hash-named'];
  if (target.endsWith('/metadata/timestamp.json')) return KIND.timestamp;
  if (target.endsWith('.root.json')) return KIND.root;
  if (target.includes('/metadata/')) return KIND.versioned;
  return SERVICE_TARGETS.has(target) ? KIND.service : KIND.none;
}
