import type { Clock } from '../../../lib/clock.ts';

const FIRST_REST_MS = 2000;
const LONGEST_REST_MS = 10_000;
/** An upstream may ask for at most this much patience (Retry-After). */
const LONGEST_RETRY_AFTER_MS = 300_000;
/** Between tries of an upstream that rests, when there is nothing else to ask. */
const FIRST_SPACING_MS = 100;
const LONGEST_SPACING_MS = 1000;

/** Leave to send one request, and what its outcome is worth. */
export interface Turn {
  /** It is the one request that finds out whether the upstream is back. */
  readonly probe: boolean;
  /** What was known when it began: news from before is no news. */
  era: number;
}

/** How a request failed. */
export interface FailedHow {
  /**
   * It said at once that it cannot (500, 502): it is alive, other names may well be answered, and asking costs little. Not
   * so when it is silent or overloaded.
   */
  answered?: boolean;
  /** What it asked for by Retry-After. */
  retryAfterMs?: number | undefined;
}

/**
 * What is known of one upstream. After a failure it rests, 2 s doubling to 10 s with jitter, or as long as its
 * Retry-After says; then exactly one request probes it (half-open) until the others may follow. While it rests it may
 * still be tried when there is nothing else to ask, by one request at a time and ever less often: a wrong judgement costs
 * no availability, and a hung upstream meets no stampede. One that answers, if only with errors, may always be tried.
 */
export class UpstreamHealth {
  readonly #clock: Clock;
  readonly #random: () => number;
  #failures = 0;
  #restUntilMs = 0;
  #nextTryMs = 0;
  #asked = false;
  #answered = false;
  #probe: Turn | undefined;
  #era = 0;
  #verdict = Promise.withResolvers<void>();

  /** @param random from 0 up to 1. */
  constructor(clock: Clock, random: () => number = Math.random) {
    this.#clock = clock;
    this.#random = random;
  }

  get state(): 'well' | 'resting' | 'probed' {
    if (this.#failures === 0) return 'well';
    return this.#probe === undefined ? 'resting' : 'probed';
  }

  /** May it be asked as if nothing had happened? It is well, or its rest is over and nobody probes it. */
  get ready(): boolean {
    return this.state === 'well' || (this.#probe === undefined && this.restsMs <= 0);
  }

  /** Milliseconds left of its rest. */
  get restsMs(): number {
    return this.#failures === 0 ? 0 : Math.max(0, this.#restUntilMs - this.#clock.monotonic());
  }

  /** Milliseconds left of the rest that it asked for itself. */
  get askedMs(): number {
    return this.#asked ? this.restsMs : 0;
  }

  /** Milliseconds until it may be tried when there is nothing else to ask. */
  get nextTryMs(): number {
    return this.#failures === 0 ? 0 : Math.max(0, this.#nextTryMs - this.#clock.monotonic());
  }

  /** Resolves when the probe that runs has an outcome. */
  get verdict(): Promise<void> {
    return this.#verdict.promise;
  }

  /** @returns undefined when no request may be sent now. Each turn ends in worked, failed or abandoned. */
  begin(): Turn | undefined {
    if (this.state === 'well') return { probe: false, era: this.#era };
    if (this.#probe !== undefined) return this.#answered ? { probe: false, era: this.#era } : undefined;
    if (this.nextTryMs > 0) return undefined;
    return (this.#probe = { probe: true, era: this.#era });
  }

  /** It answered. A request that goes on after this may still fail. */
  worked(turn: Turn): void {
    if (this.#failures > 0 && this.#isNews(turn)) {
      this.#failures = 0;
      this.#era += 1;
      this.#judged();
    }
    turn.era = this.#era;
  }

  /**
   * It could not be reached, stalled, or said that it cannot. Of many requests that fail at once only the first counts,
   * so that one outage is one failure.
   */
  failed(turn: Turn, { answered = false, retryAfterMs }: FailedHow = {}): void {
    if (!this.#isNews(turn)) return;
    this.#failures += 1;
    this.#era += 1;
    const rest = Math.min(LONGEST_REST_MS, FIRST_REST_MS * 2 ** (this.#failures - 1));
    const asked = Math.min(LONGEST_RETRY_AFTER_MS, retryAfterMs ?? 0);
    const spacing = Math.min(LONGEST_SPACING_MS, FIRST_SPACING_MS * 2 ** (this.#failures - 2));
    const now = this.#clock.monotonic();
    this.#asked = asked > 0;
    this.#answered = answered;
    this.#restUntilMs = now + (asked > 0 ? asked : rest * (0.75 + this.#random() / 2));
    // Its own word is kept to, for as long as one rest may last.
    this.#nextTryMs =
      now + Math.max(answered || this.#failures === 1 ? 0 : spacing, Math.min(LONGEST_REST_MS, asked));
    this.#judged();
  }

  /** The request ended without telling anything of the upstream. */
  abandoned(turn: Turn): void {
    if (turn === this.#probe) this.#judged();
  }

  /** A request of before the last change tells nothing new, unless it is the one that was to find out. */
  #isNews(turn: Turn): boolean {
    return turn === this.#probe || turn.era === this.#era;
  }

  #judged(): void {
    this.#probe = undefined;
    const { resolve } = this.#verdict;
    this.#verdict = Promise.withResolvers<void>();
    resolve();
  }
}
