import type { Clock } from '../../../lib/clock.ts';

export interface Blame {
  object: string;
  expected: string;
  found: string;
  /** Epoch milliseconds. */
  atMs: number;
}

const FIRST_DISTRUST_MS = 60_000;
const LONGEST_DISTRUST_MS = 3_600_000;
const KEPT = 16;

/**
 * The bytes that one upstream sent which were not what their name says. It is asked last for a minute, and for twice as
 * long each time it is caught again soon after; up to an hour.
 */
export class BlameRecord {
  readonly #clock: Clock;
  #times = 0;
  #distrustMs = 0;
  #untilMs = 0;
  readonly #last: Blame[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get times(): number {
    return this.#times;
  }

  /** The newest last, at most 16. */
  get last(): readonly Blame[] {
    return this.#last;
  }

  get trusted(): boolean {
    return this.#clock.monotonic() >= this.#untilMs;
  }

  add(object: string, expected: string, found: string): void {
    const now = this.#clock.monotonic();
    // What is found while it is distrusted anyway, as by all who asked at once, makes it no longer.
    if (this.trusted) {
      const relapsed = this.#distrustMs > 0 && now < this.#untilMs + this.#distrustMs;
      this.#distrustMs = relapsed ? Math.min(LONGEST_DISTRUST_MS, this.#distrustMs * 2) : FIRST_DISTRUST_MS;
      this.#untilMs = now + this.#distrustMs;
    }
    this.#times += 1;
    this.#last.push({ object, expected, found, atMs: this.#clock.now() });
    if (this.#last.length > KEPT) this.#last.shift();
  }
}
