import type { Forgotten } from '../objects/disk-keeper.ts';
import type { CacheStats } from '../operations/cache-stats.ts';
import type { CacheOptions } from '../serve-cache.ts';

/** What {@link serveCache} is told in a worker: settings, no parts of the primary. */
export type WorkerOptions = Omit<CacheOptions, 'listen' | 'log' | 'clock' | 'keeper' | 'totals' | 'observe'>;

/** How long clients are waited for. */
export interface Farewell {
  /** For answers under way, all in all. */
  drainSeconds: number;
  /** For idle connections: each may end by itself, or with one last answer that says so. */
  idleSeconds: number;
}

/** What the primary asks of a worker. */
export type WorkerCalls = {
  /** Resolves when it answers clients. */
  start(options: WorkerOptions): Promise<void>;
  stats(): CacheStats;
  /** Whether /readyz sends balancers elsewhere; requests are answered all the same. */
  outOfService(out: boolean): void;
  reopenLog(): void;
  /** These objects are no more: no copy of them may be served. */
  forget(objects: Forgotten): void;
  /** Takes no new connections, finishes what is under way ({@link Farewell}), and ends the process. */
  end(farewell: Farewell): Promise<void>;
};

/** What a worker asks of the primary: the keeper of the directory, and the sum over all workers. */
export type PrimaryCalls = {
  kept(sha256: string, bytes: number): void;
  used(sha256: string): void;
  lost(sha256: string): void;
  pin(view: string, sha256s: readonly string[]): void;
  makeRoom(bytes: number): Promise<number>;
  totals(): Promise<CacheStats>;
  /** What it counted until its end. */
  lastWords(pid: number, stats: CacheStats): void;
};

/** Descriptor under which a worker inherits the socket that all of them accept on. */
export const LISTENING_FD = 4;
