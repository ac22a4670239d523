import { PilotageError } from '../../../lib/errors.ts';
import { codecacheError } from '../../errors.ts';
import type { ObjectName } from '../../http/object-name.ts';
import type { Answer, AnswerStore } from './answer-store.ts';
import { misfit } from './check-metadata.ts';
import type { FreshnessRules } from './freshness.ts';
import { dump } from '../upstreams/upstreams.ts';
import type { Upstream, UpstreamAnswer, Upstreams } from '../upstreams/upstreams.ts';

export type HowAnswered = 'hit' | 'miss' | 'revalidated' | 'stale';
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
  readonly #upstreams: Upstreams;
  readonly #rules: FreshnessRules;
  readonly #maxBytes: number;
  readonly #flights = new Map<string, Promise<Answered>>();

  constructor(options: {
    store: AnswerStore;
    upstreams: Upstreams;
    rules: FreshnessRules;
    maxBytes: number;
  }) {
    this.#store = options.store;
    this.#upstreams = options.upstreams;
    this.#rules = options.rules;
    this.#maxBytes = options.maxBytes;
  }

  /**
   * @param noCache the client asked past the cache: fetch unconditionally, from another upstream first when there is one,
   *   because the one that gave the stored answer may be what the client complains of.
   * @param via the caches this request came through, this one last.
   * @throws E_UPSTREAM_FAILED, E_UPSTREAM_TIMEOUT, E_UPSTREAM_FORGED of the last upstream that was tried.
   */
  get(name: ObjectName, noCache: boolean, via: string): Promise<Answered> {
    const stored = this.#store.get(name.path);
    if (stored !== undefined && !noCache && stored.freshness.fresh()) {
      return Promise.resolve({ how: 'hit', answer: stored });
    }
    const key = noCache ? `${name.path} no-cache` : name.path;
    const running = this.#flights.get(key);
    if (running !== undefined) return running;
    const flight = this.#renew(name, stored, noCache, via).finally(() => this.#flights.delete(key));
    this.#flights.set(key, flight);
    return flight;
  }

  async #renew(
    name: ObjectName,
    stored: Answer | undefined,
    noCache: boolean,
    via: string,
  ): Promise<Answered> {
    let failure: unknown;
    let missing: Answered | undefined;
    for (const upstream of this.#upstreams.order(noCache ? stored?.upstream : undefined)) {
      try {
        const answered = await this.#ask(upstream, name, stored, noCache, via);
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
    upstream: Upstream,
    name: ObjectName,
    stored: Answer | undefined,
    noCache: boolean,
    via: string,
  ): Promise<Answered> {
    const conditional = !noCache && stored?.status === 200 && stored.etag !== undefined;
    const reply = await this.#upstreams.ask(upstream, name.path, {
      via,
      ...(conditional && { 'if-none-match': stored.etag! }),
      ...(noCache && { 'cache-control': 'no-cache', pragma: 'no-cache' }),
    });
    if (reply.status === 304 && conditional) {
      await dump(reply);
      this.#upstreams.worked(upstream);
      const freshness = stored.freshness.revalidated(reply.headers);
      const cacheControl = reply.headers['cache-control'] ?? stored.cacheControl;
      return { how: 'revalidated', answer: { ...stored, freshness, cacheControl, upstream: upstream.url } };
    }
    const body = await this.#body(upstream, name.path, reply);
    const found = reply.status === 200 ? misfit(name, body) : undefined;
    if (found !== undefined)
      throw this.#upstreams.blame(upstream, name.path, 'signed metadata of this name', found);
    if (reply.status === 304)
      throw this.#upstreams.failed(upstream, name.path, 'a 304 that was not asked for');
    this.#upstreams.worked(upstream);
    return { how: 'miss', answer: this.#answer(upstream, name.path, reply, body) };
  }

  #answer(upstream: Upstream, path: string, reply: UpstreamAnswer, body: Buffer): Answer {
    return {
      path,
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

  async #body(upstream: Upstream, path: string, reply: UpstreamAnswer): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of reply.body as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > this.#maxBytes) break;
        chunks.push(chunk);
      }
    } catch (error) {
      throw this.#upstreams.failed(upstream, path, error);
    }
    if (bytes > this.#maxBytes)
      throw this.#upstreams.blame(upstream, path, `at most ${this.#maxBytes} bytes`, 'more');
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
