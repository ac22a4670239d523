import type { Clock } from '../../../lib/clock.ts';
import { PilotageError } from '../../../lib/errors.ts';
import { codecacheError } from '../../errors.ts';
import { objectName } from '../../http/object-name.ts';
import type { ObjectName } from '../../http/object-name.ts';
import type { HowAnswered } from '../front/answer-head.ts';
import type { HeldBody } from '../objects/body-source.ts';
import type { Upstream } from '../upstreams/upstream.ts';
import type { Upstreams } from '../upstreams/upstreams.ts';
import type { AnswerStore } from './answer-store.ts';
import type { Answer } from './answer.ts';
import { askUpstream } from './ask-upstream.ts';
import { readSigned } from './read-signed.ts';
import { RenewalLimits } from './renewal-limits.ts';
import { SignedNames } from './signed-names.ts';
import { Variants } from './vary.ts';
import type { Wish } from './wish.ts';

/** Whom a request is answered from, and under which name its answers are kept. */
export interface View {
  /** Empty for all upstreams together, else the origin that the request names. */
  readonly id: string;
  readonly upstreams: Upstreams;
}

export interface Answered {
  how: HowAnswered;
  answer: Answer;
}

/** Counts since the start, and what is held. */
export interface MetadataStats {
  answers: { count: number; bytes: number };
  /** Versioned files that were compared with what the metadata above names, and those that could not be, yet. */
  checked: number;
  unchecked: number;
  /** Requests with no-cache that went to the upstreams, and that were answered from what was just renewed. */
  forcedRenewals: number;
  refusedRenewals: number;
  staleServed: number;
}

interface Known {
  names: SignedNames;
  variants: Variants;
  limits: RenewalLimits;
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
  readonly #changed: (view: View) => void;
  readonly #known = new Map<string, Known>();
  readonly #flights = new Map<string, Promise<Answered>>();
  readonly #counts = { checked: 0, unchecked: 0, forcedRenewals: 0, refusedRenewals: 0, staleServed: 0 };

  constructor(options: {
    store: AnswerStore;
    clock: Clock;
    maxBytes: number;
    /** Told when other signed metadata than before is kept for a view. */
    changed?: (view: View) => void;
  }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#maxBytes = options.maxBytes;
    this.#changed = options.changed ?? (() => undefined);
  }

  stats(): MetadataStats {
    const { answers, bytes } = this.#store.size;
    return { answers: { count: answers, bytes }, ...this.#counts };
  }

  /** Reads what an earlier run kept of a view, so that its files can be checked from the first request on. */
  async recall(view: View): Promise<void> {
    const name = objectName(TIMESTAMP);
    const kept = await this.#store.find(keyIn(view, name));
    if (kept !== undefined) await this.#learn(view, name, kept);
  }

  /** A kept file of a view, for whoever reads what the metadata says; nobody is asked. */
  async kept(view: View, path: string): Promise<Buffer | undefined> {
    const answer = await this.#store.find(`${view.id}/${path}`);
    return answer?.status === 200 ? answer.body : undefined;
  }

  /**
   * With `noCache` the upstream that gave the stored answer is asked last: it may be what the client complains of.
   *
   * @throws E_UPSTREAM_FAILED, E_UPSTREAM_TIMEOUT, E_UPSTREAM_FORGED of the last upstream that was tried;
   *   E_NOT_CACHED where nobody may be asked; E_CACHE_BUSY when clients ask for too many names that are nowhere.
   */
  async get(view: View, name: ObjectName, wish: Wish): Promise<Answered> {
    const known = this.#of(view);
    const base = keyIn(view, name);
    for (;;) {
      const key = known.variants.key(base, wish.fields ?? {});
      const stored = this.#store.get(key);
      const forcedKey = `${key} no-cache`;
      const forced =
        wish.noCache &&
        wish.onlyIfCached !== true &&
        (this.#flights.has(forcedKey) || this.#force(known.limits, key));
      if (stored !== undefined && !forced && this.#isFresh(stored)) return { how: 'hit', answer: stored };
      if (wish.onlyIfCached === true) return this.#onlyKept(view, name, key);
      const flightKey = forced ? forcedKey : key;
      const running = this.#flights.get(flightKey);
      if (running === undefined) {
        const flight = this.#renew(view, name, key, { ...wish, noCache: forced });
        this.#flights.set(flightKey, flight);
        return flight.finally(() => this.#flights.delete(flightKey));
      }
      const { how, answer } = await running;
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

  #of({ id }: View): Known {
    let known = this.#known.get(id);
    if (known === undefined) {
      known = { names: new SignedNames(), variants: new Variants(), limits: new RenewalLimits(this.#clock) };
      this.#known.set(id, known);
    }
    return known;
  }

  #isFresh({ freshness }: Answer): boolean {
    return this.#clock.now() < freshness.freshUntilMs;
  }

  #force(limits: RenewalLimits, key: string): boolean {
    const forced = limits.force(key);
    this.#counts[forced ? 'forcedRenewals' : 'refusedRenewals'] += 1;
    return forced;
  }

  async #onlyKept(view: View, name: ObjectName, key: string): Promise<Answered> {
    const answer = await this.#find(view, name, key);
    if (answer !== undefined && this.#isFresh(answer)) return { how: 'hit', answer };
    throw codecacheError({
      code: 'E_NOT_CACHED',
      message: 'The request is for what is kept here only, and this is not.',
      where: name.path,
      fix: 'Ask without Cache-Control: only-if-cached.',
    });
  }

  /** What is kept under a key, by whichever process; not what the metadata above it turned out to contradict. */
  async #find(view: View, name: ObjectName, key: string): Promise<Answer | undefined> {
    const before = this.#store.get(key);
    const found = await this.#store.find(key);
    if (found === undefined || found === before) return found;
    if (!this.#stands(view, name, found)) return undefined;
    await this.#learn(view, name, found);
    return found;
  }

  async #renew(view: View, name: ObjectName, key: string, wish: Wish): Promise<Answered> {
    const { names, limits } = this.#of(view);
    const stored = await this.#find(view, name, key);
    if (stored !== undefined && !wish.noCache && this.#isFresh(stored)) return { how: 'hit', answer: stored };
    const stranger = stored === undefined && !names.expects(name);
    if (stranger && !limits.stranger()) throw busy(name.path);
    let failure: unknown;
    let older: Answered | undefined;
    let missing: Answered | undefined;
    for (const upstream of this.#order(view, name, wish, stored)) {
      try {
        const answered = await this.#ask(view, upstream, name, stored, wish);
        if (answered.answer.status !== 200) {
          // The next root not being there is the normal answer; anything else missing may be at the next upstream.
          if (name.kind === 'root' && !wish.noCache) return await this.#keep(view, name, key, answered);
          missing ??= answered;
        } else if (!wish.noCache && this.#isOlder(names, name, answered)) {
          if (older === undefined || versionOf(answered) > versionOf(older)) older = answered;
        } else {
          if (stranger) limits.found();
          return await this.#keep(view, name, key, answered);
        }
      } catch (error) {
        if (!(error instanceof PilotageError)) throw error;
        failure = error;
      }
    }
    if (failure !== undefined && stored !== undefined && this.#clock.now() < stored.freshness.usableUntilMs) {
      this.#counts.staleServed += 1;
      return { how: 'stale', answer: stored };
    }
    // All of them say so: the repository was set up anew, or the newer one never was its own.
    if (older !== undefined) return this.#keep(view, name, key, older);
    if (missing !== undefined) return this.#keep(view, name, key, missing);
    throw failure ?? noUpstream(name.path);
  }

  /** One whole refresh is taken from one upstream as long as that can give it: from whom the timestamp is. */
  #order(view: View, name: ObjectName, { noCache }: Wish, stored: Answer | undefined): Iterable<Upstream> {
    const { timestamp } = this.#of(view).names;
    return view.upstreams.order({
      prefer: name.kind === 'versioned' ? timestamp?.upstream : undefined,
      avoid: noCache ? stored?.upstream : undefined,
    });
  }

  #isOlder(names: SignedNames, name: ObjectName, answered: Answered): boolean {
    return name.kind === 'timestamp' && versionOf(answered) < (names.timestamp?.version ?? 0);
  }

  async #ask(
    view: View,
    upstream: Upstream,
    name: ObjectName,
    stored: Answer | undefined,
    wish: Wish,
  ): Promise<Answered> {
    const { names, variants } = this.#of(view);
    const base = keyIn(view, name);
    const { how, answer, nominated } = await askUpstream({
      upstreams: view.upstreams,
      upstream,
      name,
      named: names.named(name.path),
      // What one upstream calls by a tag, another may call something else.
      stored: stored?.status === 200 && stored.upstream === upstream.url ? stored : undefined,
      wish,
      selecting: variants.fields(base, wish.fields ?? {}),
      clock: this.#clock,
      maxBytes: this.#maxBytes,
    });
    if (how === 'miss' && answer.status === 200 && name.kind === 'versioned')
      this.#counts[names.judge(name, answer) === 'fits' ? 'checked' : 'unchecked'] += 1;
    const key = variants.learn(base, nominated, wish.fields ?? {}, extra => this.#store.drop(extra));
    return { how, answer: { ...answer, key } };
  }

  async #keep(view: View, name: ObjectName, asked: string, answered: Answered): Promise<Answered> {
    const { answer, how } = answered;
    if (answer.freshness.storable) this.#store.put(answer);
    else this.#store.drop(asked);
    if (how === 'miss' && answer.status === 200) await this.#learn(view, name, answer);
    return answered;
  }

  /** Takes in what a kept file says of others, and holds it against those of them that were kept before. */
  async #learn(view: View, name: ObjectName, kept: Answer): Promise<void> {
    const { names } = this.#of(view);
    for (const path of names.learn(name, kept)) {
      const below = objectName(path);
      const answer = await this.#store.find(keyIn(view, below));
      if (answer?.status === 200 && this.#stands(view, below, answer)) await this.#learn(view, below, answer);
    }
    if (name.kind === 'timestamp' || name.kind === 'versioned') this.#changed(view);
  }

  /** False, and it is gone, when a kept file is not the one that the metadata above it names. */
  #stands(view: View, name: ObjectName, answer: Answer): boolean {
    const verdict = answer.status === 200 ? this.#of(view).names.judge(name, answer) : 'unknown';
    if (typeof verdict === 'string') return true;
    this.#store.drop(answer.key);
    const from = [...view.upstreams.order()].find(({ url }) => url === answer.upstream);
    if (from !== undefined) view.upstreams.blame(from, name.path, verdict.expected, verdict.found);
    return false;
  }
}

const TIMESTAMP = 'metadata/timestamp.json';

const keyIn = ({ id }: View, { path }: ObjectName): string => `${id}/${path}`;

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
