import type { Clock } from '../../../lib/clock.ts';

interface Waiting {
  enter: () => void;
  deadline: AbortController;
}

/** Bounds how many requests run at once; a bounded number waits for a bounded time, first come first served. */
export class RequestGate {
  readonly #clock: Clock;
  readonly #maxRunning: number;
  readonly #maxQueued: number;
  readonly #waitMs: number;
  readonly #queue = new Set<Waiting>();
  #running = 0;

  constructor(options: { clock: Clock; maxRunning: number; maxQueued: number; waitSeconds: number }) {
    this.#clock = options.clock;
    this.#maxRunning = options.maxRunning;
    this.#maxQueued = options.maxQueued;
    this.#waitMs = options.waitSeconds * 1000;
  }

  get running(): number {
    return this.#running;
  }

  get queued(): number {
    return this.#queue.size;
  }

  /**
   * Who enters leaves.
   *
   * @returns true when there was room at once, else a promise of whether room was found in time.
   */
  enter(): true | Promise<boolean> {
    if (this.#running < this.#maxRunning) {
      this.#running += 1;
      return true;
    }
    if (this.#queue.size >= this.#maxQueued) return Promise.resolve(false);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const waiting: Waiting = { enter: () => resolve(true), deadline: new AbortController() };
    this.#queue.add(waiting);
    this.#clock.sleep(this.#waitMs, waiting.deadline.signal).then(
      () => {
        if (this.#queue.delete(waiting)) resolve(false);
      },
      () => undefined,
    );
    return promise;
  }

  /** The place goes to whoever waits longest. */
  leave(): void {
    const [next] = this.#queue;
    if (next === undefined) {
      this.#running -= 1;
      return;
    }
    this.#queue.delete(next);
    next.deadline.abort();
    next.enter();
  }
}
