import type { Clock } from '../../../lib/clock.ts';
import { codecacheError } from '../../errors.ts';
import type { ObjectName } from '../../http/object-name.ts';
import type { HeldBody } from '../objects/body-source.ts';
import type { AnswerStore } from './answer-store.ts';
import type { Answer } from './answer.ts';
import { isFresh, isUsable } from './freshness.ts';
import { KeptMetadata } from './kept-metadata.ts';
import type { View } from './kept-metadata.ts';
import { RenewalLimits } from './renewal-limits.ts';
import { Renewal } from './renewal.ts';
import type { Answered, MetadataStats, OfView } from './renewal.ts';
import { Variants } from './vary.ts';
import type { Wish } from './wish.ts';

/** A hung upstream holds no one up for longer who can have a stale answer (RFC 5861 4: it failed then). */
const PATIENCE_MS = 3000;

/**
 * Answers for metadata: fresh ones from the store, others confirmed or fetched, one upstream request per name at a time,
 * stale ones when every upstream fails and their headers and signature allow it. What the signed metadata above a file
 * says of it is held against every upstream ({@link SignedNames}); no older timestamp takes the place of a newer one
 * while any upstream has the newer.
 */
export class AnswerCache {
  readonly #store: AnswerStore;
  readonly #clock: Clock;
  readonly #renewal: Renewal;
  #changed: (view: View) => void = () => undefined;
  readonly #known = new Map<string, OfView>();
  readonly #flights = new Map<string, Promise<Answered>>();
  readonly #counts: MetadataStats = {
    checked: 0,
    unchecked: 0,
    forcedRenewals: 0,
    refusedRenewals: 0,
    staleServed: 0,
  };

  constructor(options: { store: AnswerStore; clock: Clock; maxBytes: number }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#renewal = new Renewal({ ...options, counts: this.#counts });
  }

  /** Calls back when other signed metadata than before is kept for a view. */
  onChanged(listener: (view: View) => void): void {
    this.#changed = listener;
  }

  stats(): MetadataStats {
    return { ...this.#counts };
  }

  /** Until when a timestamp is kept that may be served without any upstream, in epoch milliseconds; 0 without one. */
  usableUntilMs(): number {
    const timestamps = [...this.#known.values()].map(({ kept }) => kept.timestamp);
    return Math.max(0, ...timestamps.map(answer => answer?.freshness.usableUntilMs ?? 0));
  }

  /** Reads what an earlier run kept of a view. */
  recall(view: View): Promise<void> {
    return this.#of(view).kept.recall();
  }

  /**
   * With `noCache` the upstream that gave the stored answer is asked last: it may be what the client complains of.
   *
   * @throws E_UPSTREAM_FAILED, E_UPSTREAM_TIMEOUT, E_UPSTREAM_FORGED of an upstream that was tried;
   *   E_NOT_CACHED where nobody may be asked; E_CACHE_BUSY when clients ask for too many names that are nowhere.
   */
  async get(view: View, name: ObjectName, wish: Wish): Promise<Answered> {
    const known = this.#of(view);
    const base = known.kept.keyOf(name);
    for (;;) {
      const key = known.variants.key(base, wish.fields ?? {});
      const stored = this.#store.get(key);
      const forcedKey = `${key} no-cache`;
      const forced =
        wish.noCache &&
        wish.onlyIfCached !== true &&
        (this.#flights.has(forcedKey) || this.#force(known.limits, key));
      if (stored !== undefined && !forced && isFresh(stored.freshness, this.#clock.now()))
        return { how: 'hit', answer: stored };
      if (wish.onlyIfCached === true) return this.#onlyKept(known, name, key);
      const flightKey = forced ? forcedKey : key;
      const running = this.#flights.get(flightKey);
      if (running === undefined) {
        const flight = this.#renewal
          .renew(known, name, key, { ...wish, noCache: forced })
          .finally(() => this.#flights.delete(flightKey));
        this.#flights.set(flightKey, flight);
        return this.#patiently(flight, stored);
      }
      const { how, answer } = await this.#patiently(running, stored);
      // The answer may be for those only who sent what the first of them sent.
      if (answer.key === known.variants.key(base, wish.fields ?? {}))
        return { how: how === 'miss' ? 'joined' : how, answer };
    }
  }

  /** An answer as its tier holds it: valid until it is stale, replaced or evicted. One that varies is for some requests only. */
  held(answer: Answer): HeldBody {
    return {
      body: answer.body,
      valid: () =>
        answer.vary === undefined &&
        this.#store.peek(answer.key) === answer &&
        isFresh(answer.freshness, this.#clock.now()),
      touch: () => void this.#store.get(answer.key),
    };
  }

  #of(view: View): OfView {
    let known = this.#known.get(view.id);
    if (known === undefined) {
      const kept = new KeptMetadata(view, this.#store, () => this.#changed(view));
      const limits = new RenewalLimits(this.#clock);
      known = { view, kept, variants: new Variants(), limits, chosen: undefined };
      this.#known.set(view.id, known);
    }
    return known;
  }

  /** Waits for an answer; not for longer than {@link PATIENCE_MS} where a stale one may be given instead. */
  async #patiently(flight: Promise<Answered>, stored: Answer | undefined): Promise<Answered> {
    if (stored === undefined || !isUsable(stored.freshness, this.#clock.now())) return flight;
    const over = new AbortController();
    const tooLong = this.#clock.sleep(PATIENCE_MS, over.signal).then((): Answered => {
      this.#counts.staleServed += 1;
      // Its end is of use to those who come later.
      flight.catch(() => undefined);
      return { how: 'stale', answer: stored };
    });
    tooLong.catch(() => undefined);
    return Promise.race([flight, tooLong]).finally(() => over.abort());
  }

  #force(limits: RenewalLimits, key: string): boolean {
    const forced = limits.force(key);
    this.#counts[forced ? 'forcedRenewals' : 'refusedRenewals'] += 1;
    return forced;
  }

  async #onlyKept({ kept }: OfView, name: ObjectName, key: string): Promise<Answered> {
    const answer = await kept.find(name, key);
    if (answer !== undefined && isFresh(answer.freshness, this.#clock.now())) return { how: 'hit', answer };
    throw codecacheError({
      code: 'E_NOT_CACHED',
      message: 'The request is for what is kept here only, and this is not.',
      where: name.path,
      fix: 'Ask without Cache-Control: only-if-cached.',
    });
  }
}
