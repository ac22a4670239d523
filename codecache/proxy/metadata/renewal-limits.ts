import { LRUCache } from 'lru-cache';
import type { Clock } from '../../../lib/clock.ts';

/** Clients can force one renewal of a name in so many seconds; who asks in between gets what was just renewed. */
const FORCED_EVERY_SECONDS = 3;
const FORCED = { burst: 30, perSecond: 5 };
const STRANGERS = { burst: 200, perSecond: 20 };

/**
 * How often clients can make a cache ask upstreams, whatever they send: by no-cache, and for names that no metadata here
 * names. One of these per view, so that each upstream is asked no more than these rates for them.
 */
export class RenewalLimits {
  readonly #clock: Clock;
  readonly #lastMs = new LRUCache<string, number>({ max: 1024 });
  readonly #forced: TokenBucket;
  readonly #strangers: TokenBucket;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#forced = new TokenBucket(clock, FORCED);
    this.#strangers = new TokenBucket(clock, STRANGERS);
  }

  /** Whether a request with no-cache goes to the upstreams now. */
  force(key: string): boolean {
    const now = this.#clock.monotonic();
    if (now - (this.#lastMs.get(key) ?? -Infinity) < FORCED_EVERY_SECONDS * 1000) return false;
    if (!this.#forced.take()) return false;
    this.#lastMs.set(key, now);
    return true;
  }

  /** Whether a name that nothing names may be asked for; `found` gives it back, for such names are not made up. */
  stranger(): boolean {
    return this.#strangers.take();
  }

  found(): void {
    this.#strangers.giveBack();
  }
}

class TokenBucket {
  readonly #clock: Clock;
  readonly #rate: { burst: number; perSecond: number };
  #left: number;
  #atMs: number;

  constructor(clock: Clock, rate: { burst: number; perSecond: number }) {
    this.#clock = clock;
    this.#rate = rate;
    this.#left = rate.burst;
    this.#atMs = clock.monotonic();
  }

  take(): boolean {
    const now = this.#clock.monotonic();
    this.#left = Math.min(this.#rate.burst, this.#left + ((now - this.#atMs) / 1000) * this.#rate.perSecond);
    this.#atMs = now;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }

  giveBack(): void {
    this.#left = Math.min(this.#rate.burst, this.#left + 1);
  }
}
