import type { HeldBody } from '../objects/body-source.ts';
import type { HowAnswered } from '../front/answer-head.ts';
import { PilotageError } from '../../../lib/errors.ts';
import { codecacheError } from '../../errors.ts';
import type { ObjectName } from '../../http/object-name.ts';
import type { Answer, AnswerStore } from './answer-store.ts';
import { misfit } from './check-metadata.ts';
import type { FreshnessRules } from './freshness.ts';
import { dump } from '../upstreams/upstreams.ts';
import type { Upstream, UpstreamAnswer, Upstreams } from '../upstreams/upstreams.ts';

/** Whom a request is answered from, and under which name its answers are kept. */
export interface View {
  /** Empty for all upstreams together, else the origin that the request names. */
  readonly id: string;
  readonly upstreams: Upstreams;
}

/** What a request asks of the cache (RFC 9111 5.2.1), and the caches it came through. */
export interface Wish {
  /** Past the cache: fetch unconditionally, from another upstream first when there is one. */
  noCache: boolean;
  /** The caches this request came through, this one last. */
  via: string;
}

export interface Answered {
  how: HowAnswered;
  answer: Answer;
}

/**
 * Answers for metadata names: fresh ones from the store, others revalidated with their ETag, one upstream request per
 * path at a time, stale ones when every upstream fails and the headers allow it.
 */
export class AnswerCache {
  readonly #store: AnswerStore;
  readonly #rules: FreshnessRules;
  readonly #maxBytes: number;
  readonly #flights = new Map<string, Promise<Answered>>();

  constructor(options: { store: AnswerStore; rules: FreshnessRules; maxBytes: number }) {
    this.#store = options.store;
    this.#rules = options.rules;
    this.#maxBytes = options.maxBytes;
  }

  /**
   * With `noCache` the upstream that gave the stored answer is asked last: it may be what the client complains of.
   *
   * @throws E_UPSTREAM_FAILED, E_UPSTREAM_TIMEOUT, E_UPSTREAM_FORGED of the last upstream that was tried.
   */
  get(view: View, name: ObjectName, wish: Wish): Promise<Answered> {
    const { noCache } = wish;
    const answerKey = `${view.id}/${name.path}`;
    const stored = this.#store.get(answerKey);
    if (stored !== undefined && !noCache && stored.freshness.fresh()) {
      return Promise.resolve({ how: 'hit', answer: stored });
    }
    const key = noCache ? `${answerKey} no-cache` : answerKey;
    const running = this.#flights.get(key);
    if (running !== undefined) return running;
    const flight = this.#renew(view, name, stored, wish).finally(() => this.#flights.delete(key));
    this.#flights.set(key, flight);
    return flight;
  }

  /** An answer as its tier holds it: valid until it is replaced or evicted. */
  held(answer: Answer): HeldBody {
    return {
      body: answer.body,
      valid: () => this.#store.peek(answer.key) === answer,
      touch: () => void this.#store.get(answer.key),
    };
  }

  async #renew(
    { id, upstreams }: View,
    name: ObjectName,
    stored: Answer | undefined,
    wish: Wish,
  ): Promise<Answered> {
    let failure: unknown;
    let missing: Answered | undefined;
    for (const upstream of upstreams.order(wish.noCache ? { avoid: stored?.upstream } : {})) {
      try {
        const answered = await this.#ask({ id, upstreams }, upstream, name, stored, wish);
        // The next root not being there is the normal answer; anything else missing may be at the next upstream.
        if (answered.answer.status === 200 || name.kind === 'root') return await this.#keep(answered);
        missing ??= answered;
      } catch (error) {
        if (!(error instanceof PilotageError)) throw error;
        failure = error;
      }
    }
    if (failure !== undefined && stored?.freshness.usableOnError() === true)
      return { how: 'stale', answer: stored };
    if (missing !== undefined) return this.#keep(missing);
    throw failure ?? noUpstream(name.path);
  }

  async #ask(
    { id, upstreams }: View,
    upstream: Upstream,
    name: ObjectName,
    stored: Answer | undefined,
    { noCache, via }: Wish,
  ): Promise<Answered> {
    const conditional = !noCache && stored?.status === 200 && stored.etag !== undefined;
    const reply = await upstreams.ask(upstream, name.path, {
      via,
      ...(conditional && { 'if-none-match': stored.etag! }),
      ...(noCache && { 'cache-control': 'no-cache', pragma: 'no-cache' }),
    });
    if (reply.status === 304 && conditional) {
      await dump(reply);
      upstreams.worked(upstream);
      const freshness = stored.freshness.revalidated(reply.headers);
      const cacheControl = reply.headers['cache-control'] ?? stored.cacheControl;
      return { how: 'revalidated', answer: { ...stored, freshness, cacheControl, upstream: upstream.url } };
    }
    const body = await this.#body(upstreams, upstream, name.path, reply);
    const found = reply.status === 200 ? misfit(name, body) : undefined;
    if (found !== undefined)
      throw upstreams.blame(upstream, name.path, 'signed metadata of this name', found);
    if (reply.status === 304) throw upstreams.failed(upstream, name.path, 'a 304 that was not asked for');
    upstreams.worked(upstream);
    return { how: 'miss', answer: this.#answer(upstream, `${id}/${name.path}`, reply, body) };
  }

  #answer(upstream: Upstream, key: string, reply: UpstreamAnswer, body: Buffer): Answer {
    return {
      key,
      status: reply.status,
      contentType: reply.headers['content-type'] ?? 'application/octet-stream',
      cacheControl: reply.headers['cache-control'] ?? 'no-cache',
      etag: reply.headers.etag,
      body,
      freshness: this.#rules.judge(reply.status, reply.headers),
      upstream: upstream.url,
    };
  }

  async #keep(answered: Answered): Promise<Answered> {
    if (answered.answer.freshness.storable) await this.#store.put(answered.answer);
    return answered;
  }

  async #body(
    upstreams: Upstreams,
    upstream: Upstream,
    path: string,
    reply: UpstreamAnswer,
  ): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of reply.body as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > this.#maxBytes) break;
        chunks.push(chunk);
      }
    } catch (error) {
      throw upstreams.failed(upstream, path, error);
    }
    if (bytes > this.#maxBytes)
      throw upstreams.blame(upstream, path, `at most ${this.#maxBytes} bytes`, 'more');
    return Buffer.concat(chunks);
  }
}

const noUpstream = (path: string) =>
  codecacheError({
    code: 'E_UPSTREAM_FAILED',
    message: 'There is no upstream to ask.',
    where: path,
    fix: 'Give at least one --upstream.',
  });
