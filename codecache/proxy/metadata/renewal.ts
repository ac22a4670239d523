import type { Clock } from '../../../lib/clock.ts';
import { PilotageError } from '../../../lib/errors.ts';
import { codecacheError } from '../../errors.ts';
import type { ObjectName } from '../../http/object-name.ts';
import type { HowAnswered } from '../front/answer-head.ts';
import { sooner } from '../upstreams/upstream-failure.ts';
import type { Upstream } from '../upstreams/upstream.ts';
import type { AnswerStore } from './answer-store.ts';
import type { Answer } from './answer.ts';
import { askUpstream } from './ask-upstream.ts';
import { isFresh, isUsable } from './freshness.ts';
import type { KeptMetadata, View } from './kept-metadata.ts';
import { readSigned } from './read-signed.ts';
import type { RenewalLimits } from './renewal-limits.ts';
import type { Variants } from './vary.ts';
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

const CHOSEN_MS = 600_000;

/** What is known of one view. */
export interface OfView {
  readonly view: View;
  readonly kept: KeptMetadata;
  readonly variants: Variants;
  readonly limits: RenewalLimits;
  /** The upstream that a client's no-cache led to. */
  chosen: { upstream: string; untilMs: number } | undefined;
}

/** Asks the upstreams of a view for a file until one of them has an answer that may take the place of the stored one. */
export class Renewal {
  readonly #store: AnswerStore;
  readonly #clock: Clock;
  readonly #maxBytes: number;
  readonly #counts: MetadataStats;

  /** @param options.counts are added to. */
  constructor(options: { store: AnswerStore; clock: Clock; maxBytes: number; counts: MetadataStats }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#maxBytes = options.maxBytes;
    this.#counts = options.counts;
  }

  /** @param wish `noCache` when it is forced. @throws as `AnswerCache.get`. */
  async renew(of: OfView, name: ObjectName, key: string, wish: Wish): Promise<Answered> {
    const { view, kept, limits } = of;
    const stored = await kept.find(name, key);
    const now = this.#clock.now();
    if (stored !== undefined && !wish.noCache && isFresh(stored.freshness, now))
      return { how: 'hit', answer: stored };
    const usable = stored !== undefined && isUsable(stored.freshness, now);
    const stranger = stored === undefined && !kept.names.expects(name);
    if (stranger && !limits.stranger()) throw busy(name.path);
    let unasked = [...view.upstreams.order()].length;
    let failure: unknown;
    let older: Answered | undefined;
    let missing: Answered | undefined;
    for (const upstream of view.upstreams.order({
      prefer: this.#preferred(of, name),
      avoid: wish.noCache ? stored?.upstream : undefined,
      lastResort: !usable || wish.noCache,
    })) {
      unasked -= 1;
      try {
        const answered = await this.#ask(of, upstream, name, stored, wish);
        if (answered.answer.status !== 200) {
          // The next root not being there is the normal answer, and where a client complains of a root, the word of
          // another upstream counts; anything else missing may be at the next one.
          if (name.kind === 'root' && (!wish.noCache || stored?.status === 200)) {
            this.#choose(of, name, wish, stored, upstream);
            return await this.#keep(kept, name, key, answered);
          }
          missing ??= answered;
        } else if (this.#isOlder(kept, name, answered, wish)) {
          if (older === undefined || this.#standing(answered) > this.#standing(older)) older = answered;
        } else {
          if (stranger) limits.found();
          this.#choose(of, name, wish, stored, upstream);
          return await this.#keep(kept, name, key, answered);
        }
      } catch (error) {
        if (!(error instanceof PilotageError)) throw error;
        failure = sooner(failure, error);
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
   * One whole refresh is taken from one upstream as long as that can give it: from whom the timestamp is. Roots and the
   * timestamp itself are asked of the first in order, or for some time of whom a client's no-cache led to: it knew the
   * first to be bad.
   */
  #preferred({ kept, chosen }: OfView, name: ObjectName): string | undefined {
    if (name.kind === 'versioned') return kept.names.timestamp?.upstream;
    return beginsRefresh(name) && this.#clock.monotonic() < (chosen?.untilMs ?? 0)
      ? chosen?.upstream
      : undefined;
  }

  #choose(of: OfView, name: ObjectName, wish: Wish, stored: Answer | undefined, { url }: Upstream): void {
    if (wish.noCache && beginsRefresh(name) && stored !== undefined && stored.upstream !== url)
      of.chosen = { upstream: url, untilMs: this.#clock.monotonic() + CHOSEN_MS };
  }

  /** A timestamp that is taken only where there is no better one: expired, or without no-cache older than the last one. */
  #isOlder({ names }: KeptMetadata, name: ObjectName, answered: Answered, { noCache }: Wish): boolean {
    const least = noCache ? 1 : (names.timestamp?.version ?? 1);
    return name.kind === 'timestamp' && this.#standing(answered) < least;
  }

  /** Version of a timestamp, 0 when it has expired. */
  #standing({ answer }: Answered): number {
    const read = readSigned(answer.body);
    return typeof read === 'string' || !(read.expiresMs > this.#clock.now()) ? 0 : read.version;
  }

  async #ask(
    { view, kept, variants }: OfView,
    upstream: Upstream,
    name: ObjectName,
    stored: Answer | undefined,
    wish: Wish,
  ): Promise<Answered> {
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

const beginsRefresh = ({ kind }: ObjectName): boolean => kind === 'root' || kind === 'timestamp';

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
