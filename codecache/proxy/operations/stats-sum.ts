import { mergeStats, pastOf } from './cache-stats.ts';
import type { CacheStats } from './cache-stats.ts';

/**
 * The numbers of all processes of a cache, those that ended included: a process that is too busy to answer, or was
 * killed, counts with what it said last, so that no counter ever falls.
 */
export class StatsSum {
  readonly #last = new Map<number, CacheStats>();
  #past: CacheStats | undefined;

  /** What a process that runs said of itself. */
  heard(pid: number, stats: CacheStats): void {
    this.#last.set(pid, stats);
  }

  /** It is gone. */
  ended(pid: number): void {
    const last = this.#last.get(pid);
    this.#last.delete(pid);
    if (last === undefined) return;
    const past = pastOf(last);
    this.#past = this.#past === undefined ? past : mergeStats([this.#past, past]);
  }

  /** Undefined before anybody said anything. */
  total(): CacheStats | undefined {
    const all = [...this.#last.values(), ...(this.#past === undefined ? [] : [this.#past])];
    return all.length === 0 ? undefined : mergeStats(all);
  }
}
