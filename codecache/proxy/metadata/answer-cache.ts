import type { Clock } from '../../../lib/clock.ts';
import { PilotageError } from '../../../lib/errors.ts';
import { codecacheError } from '../../errors.ts';
import type { ObjectName } from '../../http/object-name.ts';
import type { HowAnswered } from '../front/answer-head.ts';
import type { HeldBody } from '../objects/body-source.ts';
import type { Upstream } from '../upstreams/upstream.ts';
import type { AnswerStore } from './answer-store.ts';
import type { Answer } from './answer.ts';
import { askUpstream } from './ask-upstream.ts';
import { KeptMetadata } from './kept-metadata.ts';
import type { View } from './kept-metadata.ts';
import { readSigned } from './read-signed.ts';
import { RenewalLimits } from './renewal-limits.ts';
import { Variants } from './vary.ts';
import type { Wish } from './wish.ts';

export interface Answered {
  how: HowAnswered;
  answer: Answer;
}

/** Counts since the start. */
export interface MetadataStats {
  /** Versioned files that were compared with what the metadata above names, and those that could not be, yet. */
  checked: number;
  unchecked: number;
  /** Requests with no-cache that went to the upstreams, and that were answered from what was just renewed. */
  forcedRenewals: number;
  refusedRenewals: number;
  staleServed: number;
}

/** A hung upstream holds no one up for longer who can have a stale answer (RFC 5861 4: it failed then). */
const PATIENCE_MS = 3000;

const CHOSEN_MS = 600_000;

interface Known {
  kept: KeptMetadata;
  variants: Variants;
  limits: RenewalLimits;
  /** The upstream that a client's no-cache led to. */
  chosen: { upstream: string; untilMs: number } | undefined;
}

/**
 * Answers for metadata: fresh ones from the store, others confirmed or fetched, one upstream request per name at a time,
 * stale ones when every upstream fails and their headers and signature allow it. What the signed metadata above a file
 * says of it is held against every upstream ({@link SignedNames}); no older timestamp takes the place of a newer one
 * while any upstream has the newer.
 */
export class AnswerCache {
  readonly #store: AnswerStore;
  readonly #clock: Clock;
  readonly #maxBytes: number;
  #changed: (view: View) => void = () => undefined;
  readonly #known = new Map<string, Known>();
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
    this.#maxBytes = options.maxBytes;
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
   * @throws E_UPSTREAM_FAILED, E_UPSTREAM_TIMEOUT, E_UPSTREAM_FORGED of the last upstream that was tried;
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
      if (stored !== undefined && !forced && this.#isFresh(stored)) return { how: 'hit', answer: stored };
      if (wish.onlyIfCached === true) return this.#onlyKept(known, name, key);
      const flightKey = forced ? forcedKey : key;
      const running = this.#flights.get(flightKey);
      if (running === undefined) {
        const flight = this.#renew(view, name, key, { ...wish, noCache: forced }).finally(() =>
          this.#flights.delete(flightKey),
        );
        this.#flights.set(flightKey, flight);
        return this.#patiently(flight, stored);
      }
      const { how, answer } = await this.#patiently(running, stored);
      // The answer may be for those only who sent what the first of them sent.
      if (answer.key === known.variants.key(base, wish.fields ?? {}))
        return { how: how === 'miss' ? 'joined' : how, answer };
    }
  }

  /** An answer as its tier holds it: valid until it is replaced or evicted. One that varies is for some requests only. */
  held(answer: Answer): HeldBody {
    return {
      body: answer.body,
      valid: () => answer.vary === undefined && this.#store.peek(answer.key) === answer,
      touch: () => void this.#store.get(answer.key),
    };
  }

  #of(view: View): Known {
    let known = this.#known.get(view.id);
    if (known === undefined) {
      const kept = new KeptMetadata(view, this.#store, () => this.#changed(view));
      known = { kept, variants: new Variants(), limits: new RenewalLimits(this.#clock), chosen: undefined };
      this.#known.set(view.id, known);
    }
    return known;
  }

  #isFresh({ freshness }: Answer): boolean {
    return this.#clock.now() < freshness.freshUntilMs;
  }

  /** Waits for an answer; not for longer than {@link PATIENCE_MS} where a stale one may be given instead. */
  async #patiently(flight: Promise<Answered>, stored: Answer | undefined): Promise<Answered> {
    if (stored === undefined || !this.#isUsable(stored)) return flight;
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

  #isUsable({ freshness }: Answer): boolean {
    return this.#clock.now() < freshness.usableUntilMs;
  }

  #force(limits: RenewalLimits, key: string): boolean {
    const forced = limits.force(key);
    this.#counts[forced ? 'forcedRenewals' : 'refusedRenewals'] += 1;
    return forced;
  }

  async #onlyKept({ kept }: Known, name: ObjectName, key: string): Promise<Answered> {
    const answer = await kept.find(name, key);
    if (answer !== undefined && this.#isFresh(answer)) return { how: 'hit', answer };
    throw codecacheError({
      code: 'E_NOT_CACHED',
      message: 'The request is for what is kept here only, and this is not.',
      where: name.path,
      fix: 'Ask without Cache-Control: only-if-cached.',
    });
  }

  async #renew(view: View, name: ObjectName, key: string, wish: Wish): Promise<Answered> {
    const known = this.#of(view);
    const { kept, limits } = known;
    const stored = await kept.find(name, key);
    if (stored !== undefined && !wish.noCache && this.#isFresh(stored)) return { how: 'hit', answer: stored };
    const usable = stored !== undefined && this.#isUsable(stored);
    const stranger = stored === undefined && !kept.names.expects(name);
    if (stranger && !limits.stranger()) throw busy(name.path);
    let unasked = [...view.upstreams.order()].length;
    let failure: unknown;
    let older: Answered | undefined;
    let missing: Answered | undefined;
    for (const upstream of view.upstreams.order({
      prefer: this.#preferred(view, name),
      avoid: wish.noCache ? stored?.upstream : undefined,
      lastResort: !usable || wish.noCache,
    })) {
      unasked -= 1;
      try {
        const answered = await this.#ask(view, upstream, name, stored, wish);
        if (answered.answer.status !== 200) {
          // The next root not being there is the normal answer; anything else missing may be at the next upstream.
          if (name.kind === 'root' && !wish.noCache) return await this.#keep(kept, name, key, answered);
          missing ??= answered;
        } else if (!wish.noCache && this.#isOlder(kept, name, answered)) {
          if (older === undefined || versionOf(answered) > versionOf(older)) older = answered;
        } else {
          if (stranger) limits.found();
          if (
            wish.noCache &&
            name.kind === 'timestamp' &&
            stored !== undefined &&
            upstream.url !== stored.upstream
          )
            known.chosen = { upstream: upstream.url, untilMs: this.#clock.monotonic() + CHOSEN_MS };
          return await this.#keep(kept, name, key, answered);
        }
      } catch (error) {
        if (!(error instanceof PilotageError)) throw error;
        failure = error;
      }
    }
    const answered = older ?? missing;
    if (usable && (failure !== undefined || unasked > 0)) {
      this.#counts.staleServed += 1;
      return { how: 'stale', answer: stored };
    }
    // All of them say so: what was newer is no more, or never was theirs.
    if (answered !== undefined) return this.#keep(kept, name, key, answered);
    throw failure ?? noUpstream(name.path);
  }

  /**
   * One whole refresh is taken from one upstream as long as that can give it: from whom the timestamp is. The timestamp
   * itself is asked of the first in order, or for some time of whom a client's no-cache led to: it knew the first to be bad.
   */
  #preferred(view: View, name: ObjectName): string | undefined {
    const { kept, chosen } = this.#of(view);
    if (name.kind === 'versioned') return kept.names.timestamp?.upstream;
    const holds = name.kind === 'timestamp' && this.#clock.monotonic() < (chosen?.untilMs ?? 0);
    return holds ? chosen?.upstream : undefined;
  }

  #isOlder({ names }: KeptMetadata, name: ObjectName, answered: Answered): boolean {
    return name.kind === 'timestamp' && versionOf(answered) < (names.timestamp?.version ?? 0);
  }

  async #ask(
    view: View,
    upstream: Upstream,
    name: ObjectName,
    stored: Answer | undefined,
    wish: Wish,
  ): Promise<Answered> {
    const { kept, variants } = this.#of(view);
    const base = kept.keyOf(name);
    const { how, answer, nominated } = await askUpstream({
      upstreams: view.upstreams,
      upstream,
      name,
      named: kept.names.named(name.path),
      // What one upstream calls by a tag, another may call something else.
      stored: stored?.status === 200 && stored.upstream === upstream.url ? stored : undefined,
      wish,
      selecting: variants.fields(base, wish.fields ?? {}),
      clock: this.#clock,
      maxBytes: this.#maxBytes,
    });
    if (how === 'miss' && answer.status === 200 && name.kind === 'versioned')
      this.#counts[kept.names.judge(name, answer) === 'fits' ? 'checked' : 'unchecked'] += 1;
    const key = variants.learn(base, nominated, wish.fields ?? {}, extra => void this.#store.drop(extra));
    return { how, answer: { ...answer, key } };
  }

  async #keep(kept: KeptMetadata, name: ObjectName, asked: string, answered: Answered): Promise<Answered> {
    const { answer } = answered;
    if (answer.freshness.storable) await kept.keep(name, answer);
    else {
      await this.#store.drop(asked);
      await kept.learn(name, answer);
    }
    return answered;
  }
}

function versionOf({ answer }: Answered): number {
  const read = readSigned(answer.body);
  return typeof read === 'string' ? 0 : read.version;
}

const noUpstream = (path: string) =>
  codecacheError({
    code: 'E_UPSTREAM_FAILED',
    message: 'There is no upstream to ask.',
    where: path,
    fix: 'Give at least one --upstream.',
  });

const busy = (path: string) =>
  codecacheError({
    code: 'E_CACHE_BUSY',
    message: 'Too many names that no signed metadata names were asked for within a short time.',
    where: path,
    fix: 'Ask again later; look in the access log for who asks for them.',
    retryAfterSeconds: 1,
  });
