import type { UpstreamStats } from '../upstreams/upstreams.ts';

/** Everything a cache counts since it started; the body of `/stats`. */
export interface CacheStats {
  upSeconds: number;
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
  bytesServed: number;
  kept: { objects: number; objectBytes: number; answers: number; answerBytes: number };
  upstreams: UpstreamStats[];
}

export type Counters = Omit<CacheStats, 'upSeconds' | 'kept' | 'upstreams'>;

export const newCounters = (): Counters => ({
  hits: 0,
  misses: 0,
  revalidated: 0,
  stale: 0,
  joined: 0,
  refused: 0,
  failed: 0,
  bytesServed: 0,
});
