import type { Answered } from '../../http/observe-answer.ts';
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

const COUNTED: Record<string, keyof Counters> = {
  HIT: 'hits',
  MISS: 'misses',
  JOINED: 'joined',
  REVALIDATED: 'revalidated',
  STALE: 'stale',
};

/** Counts the answers of one process, whichever path gave them. */
export class TrafficCounters {
  readonly counters: Counters = {
    hits: 0,
    misses: 0,
    revalidated: 0,
    stale: 0,
    joined: 0,
    refused: 0,
    failed: 0,
    bytesServed: 0,
  };

  count({ cache, status, bytes }: Answered): void {
    const { counters } = this;
    const counted = cache === undefined ? undefined : COUNTED[cache];
    if (counted !== undefined) counters[counted] += 1;
    else if (status >= 500 && status !== 508) counters.failed += 1;
    else if (status >= 400) counters.refused += 1;
    counters.bytesServed += bytes;
  }
}
