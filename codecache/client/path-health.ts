import { systemClock } from '../../lib/clock.ts';
import type { Clock } from '../../lib/clock.ts';
import { cachesOf } from '../http/cache-group.ts';

/** CVMFS's numbers, which its operators live with: up to 10 s between tries, back to the first group after 5 minutes. */
const FIRST_REST_SECONDS = 2;
const LONGEST_REST_SECONDS = 10;
const RETURN_SECONDS = 300;
/** A cache may ask for at most this much patience (Retry-After). */
const LONGEST_RETRY_AFTER_SECONDS = 300;

/**
 * What is known of the ways to the store: which one failed just now, and which group is in use. Whoever asks more than
 * once keeps one and passes it in each time.
 */
export class PathHealth {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #resting = new Map<string, { untilMs: number; failures: number }>();
  /** A later group than the first, which is kept to for a while. */
  #inUse: { group: number; untilMs: number } | undefined;

  /** @param options.random from 0 up to 1; default Math.random. */
  constructor(options: { clock?: Clock; random?: () => number } = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
  }

  /** The caches to try now: groups in order, each begun at a random one, without those that rest. */
  order(groups: readonly string[]): string[] {
    const now = this.#clock.monotonic();
    if (this.#inUse !== undefined && this.#inUse.untilMs <= now) this.#inUse = undefined;
    const first = this.#inUse?.group ?? 0;
    const ordered = [
      ...groups.slice(first, first + 1),
      ...groups.slice(0, first),
      ...groups.slice(first + 1),
    ];
    return ordered.flatMap(group => {
      const caches = cachesOf(group);
      const start = Math.floor(this.#random() * caches.length);
      return [...caches.slice(start), ...caches.slice(0, start)].filter(cache => this.restsMs(cache) <= 0);
    });
  }

  /** Milliseconds until a cache is to be asked again; 0 or less: now. */
  restsMs(cache: string): number {
    return (this.#resting.get(cache)?.untilMs ?? 0) - this.#clock.monotonic();
  }

  /** It could not be reached, stalled, or is overloaded: it rests for 2 s, later for up to 10 s, or as long as it asked. */
  failed(cache: string, retryAfterSeconds = 0): void {
    const failures = (this.#resting.get(cache)?.failures ?? 0) + 1;
    const seconds = Math.min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2 ** (failures - 1));
    const jittered = seconds * (0.75 + this.#random() / 2);
    const asked = Math.min(LONGEST_RETRY_AFTER_SECONDS, retryAfterSeconds);
    const untilMs = this.#clock.monotonic() + Math.max(jittered, asked) * 1000;
    this.#resting.set(cache, { untilMs, failures });
  }

  /** Its group is kept to; a later group only for 300 s, then the first is tried again. */
  worked(cache: string, groups: readonly string[]): void {
    this.#resting.delete(cache);
    const group = groups.findIndex(group => cachesOf(group).includes(cache));
    if (group === this.#inUse?.group) return;
    this.#inUse =
      group <= 0 ? undefined : { group, untilMs: this.#clock.monotonic() + RETURN_SECONDS * 1000 };
  }
}
