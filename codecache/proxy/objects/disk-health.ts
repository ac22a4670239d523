import type { Clock } from '../../../lib/clock.ts';
import type { Logger } from '../../../lib/log.ts';

/** A disk that failed is left alone for so long; then one object tries it. */
const RETRY_MS = 15_000;

/**
 * Whether the disk can be written: a failing one is not tried for a while (the cache goes on in memory), then by one
 * object at a time until it works again. Only changes are logged.
 */
export class DiskHealth {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #where: string;
  #failures = 0;
  #retryAtMs: number | undefined;

  constructor(options: { clock: Clock; log: Logger; where: string }) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#where = options.where;
  }

  get failures(): number {
    return this.#failures;
  }

  get degraded(): boolean {
    return this.#retryAtMs !== undefined;
  }

  /** May it be tried now? Who was let through says how it went. */
  usable(): boolean {
    if (this.#retryAtMs === undefined) return true;
    const now = this.#clock.now();
    if (now < this.#retryAtMs) return false;
    this.#retryAtMs = now + RETRY_MS;
    return true;
  }

  /** An object could not be read: counted, no reason not to write others. */
  counted(): void {
    this.#failures += 1;
  }

  failed(error: unknown): void {
    this.counted();
    if (!this.degraded)
      this.#log.error(
        { directory: this.#where, code: (error as NodeJS.ErrnoException).code, err: error },
        'the disk of the cache cannot be written; objects are kept in memory only until it works again',
      );
    this.#retryAtMs = this.#clock.now() + RETRY_MS;
  }

  worked(): void {
    if (this.degraded) this.#log.info({ directory: this.#where }, 'the disk of the cache works again');
    this.#retryAtMs = undefined;
  }
}
