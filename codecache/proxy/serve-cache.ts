import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { systemClock } from '../../lib/clock.ts';
import type { Clock } from '../../lib/clock.ts';
import { PilotageError } from '../../lib/errors.ts';
import { ensureDirectory } from '../../lib/files.ts';
import type { Logger } from '../../lib/log.ts';
import { matchesEtag, rangeOf } from '../http/byte-range.ts';
import { objectName, publicPath } from '../http/object-name.ts';
import { sendJson, sendText, startPlainServer } from '../http/plain-server.ts';
import type { PlainServer, ServerLimits } from '../http/plain-server.ts';
import { AnswerCache } from './metadata/answer-cache.ts';
import type { Answered } from './metadata/answer-cache.ts';
import { AnswerStore } from './metadata/answer-store.ts';
import { sendSource } from './objects/body-source.ts';
import type { BodySource } from './objects/body-source.ts';
import { newCounters } from './operations/counters.ts';
import type { CacheStats } from './operations/counters.ts';
import { freshnessRules } from './metadata/freshness.ts';
import { ObjectCache } from './objects/object-cache.ts';
import type { HashName } from './objects/object-cache.ts';
import { ObjectStore } from './objects/object-store.ts';
import { Upstreams } from './upstreams/upstreams.ts';
import type { UpstreamTimeouts } from './upstreams/upstreams.ts';

export interface CacheOptions {
  upstreams: string[];
  directory: string;
  listen: string;
  log: Logger;
  clock?: Clock;
  /** Disk quota for hash-named objects. */
  maxStoreBytes: number;
  maxObjectBytes: number;
  maxMetadataBytes: number;
  timeouts: UpstreamTimeouts;
  limits?: Partial<ServerLimits>;
}

export interface CacheServer extends PlainServer {
  stats(): CacheStats;
}

const IMMUTABLE = 'public, max-age=31536000, immutable, no-transform';
const ANSWER_MEMORY_BYTES = 64 << 20;

/**
 * Starts a caching reverse proxy for a code store. It can withhold, never forge: hash-named objects are verified before
 * they are kept and before their last byte is served. It asks its upstreams only, whatever the request says.
 *
 * @throws E_PERMISSION and the like for the directory, E_PORT_IN_USE and the like for the address.
 */
export async function serveCache(options: CacheOptions): Promise<CacheServer> {
  const cache = new CachingProxy(options);
  await cache.load();
  const server = await startPlainServer({
    listen: options.listen,
    handler: (request, response) => cache.handle(request, response),
    log: options.log,
    ...(options.limits && { limits: options.limits }),
  });
  return {
    ...server,
    stats: () => cache.stats(),
    close: async graceMs => {
      await server.close(graceMs);
      await cache.close();
    },
  };
}

class CachingProxy {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #startedMs: number;
  /** Names this process in Via; a request that already has it went in a circle. */
  readonly #pseudonym = `pilotage-${randomBytes(4).toString('hex')}`;
  readonly #counters = newCounters();
  readonly #upstreams: Upstreams;
  readonly #answers: AnswerStore;
  readonly #answerCache: AnswerCache;
  readonly #objects: ObjectStore;
  readonly #objectCache: ObjectCache;
  readonly #directory: string;

  constructor(options: CacheOptions) {
    const { log, clock = systemClock, directory } = options;
    this.#clock = clock;
    this.#log = log;
    this.#directory = directory;
    this.#startedMs = clock.monotonic();
    this.#upstreams = new Upstreams({ urls: options.upstreams, clock, log, timeouts: options.timeouts });
    const rules = freshnessRules(clock);
    this.#answers = new AnswerStore({ directory, maxBytes: ANSWER_MEMORY_BYTES, rules, log });
    this.#answerCache = new AnswerCache({
      store: this.#answers,
      upstreams: this.#upstreams,
      rules,
      maxBytes: options.maxMetadataBytes,
    });
    this.#objects = new ObjectStore({ directory, maxBytes: options.maxStoreBytes, log });
    this.#objectCache = new ObjectCache({
      store: this.#objects,
      upstreams: this.#upstreams,
      clock,
      maxBytes: options.maxObjectBytes,
    });
  }

  async load(): Promise<void> {
    await ensureDirectory(this.#directory);
    await this.#answers.load();
    await this.#objects.load();
  }

  async close(): Promise<void> {
    await this.#upstreams.close();
    await this.#objects.close();
  }

  stats(): CacheStats {
    const { objects, bytes: objectBytes } = this.#objects.size;
    const { answers, bytes: answerBytes } = this.#answers.size;
    return {
      upSeconds: Math.round((this.#clock.monotonic() - this.#startedMs) / 1000),
      ...this.#counters,
      kept: { objects, objectBytes, answers, answerBytes },
      upstreams: this.#upstreams.stats(),
    };
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url === '/livez') return sendJson(request, response, { ok: true, program: 'cache' });
    if (request.url === '/stats') return sendJson(request, response, this.stats());
    const path = publicPath(request.url ?? '');
    if (path === undefined) {
      this.#counters.refused += 1;
      return sendText(
        request,
        response,
        404,
        'This cache serves metadata/ and targets/ of its code store only.',
        'no-store',
      );
    }
    if (request.headers.via?.includes(this.#pseudonym) === true) {
      this.#counters.refused += 1;
      return sendText(request, response, 508, 'The caches ask each other in a circle.', 'no-store');
    }
    response.setHeader('via', `1.1 ${this.#pseudonym}`);
    const name = objectName(path);
    const before = request.headers.via;
    const via = `${before === undefined ? '' : `${before}, `}1.1 ${this.#pseudonym}`;
    try {
      if (name.kind === 'hash-named') await this.#object(request, response, name, via);
      else
        await this.#answer(request, response, await this.#answerCache.get(name, asksNoCache(request), via));
    } catch (error) {
      if (!(error instanceof PilotageError)) throw error;
      this.#failed(request, response, path, error);
    }
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    { how, answer }: Answered,
  ): Promise<void> {
    this.#counters[how === 'hit' ? 'hits' : how === 'miss' ? 'misses' : how] += 1;
    const { freshness } = answer;
    response.setHeader('cache-control', answer.cacheControl);
    response.setHeader('age', freshness.ageSeconds());
    describe(response, how, freshness.secondsLeft());
    if (answer.etag !== undefined) response.setHeader('etag', answer.etag);
    if (
      answer.status === 200 &&
      answer.etag !== undefined &&
      matchesEtag(request.headers['if-none-match'], answer.etag)
    ) {
      response.writeHead(304).end();
      return;
    }
    response.writeHead(answer.status, {
      'content-type': answer.contentType,
      'content-length': answer.body.length,
      'x-content-type-options': 'nosniff',
    });
    if (request.method !== 'HEAD') this.#counters.bytesServed += answer.body.length;
    response.end(request.method === 'HEAD' ? undefined : answer.body);
  }

  async #object(
    request: IncomingMessage,
    response: ServerResponse,
    name: HashName,
    via: string,
  ): Promise<void> {
    const etag = `"${name.sha256}"`;
    const rangeAsked = request.headers.range !== undefined;
    const got = await this.#objectCache.get(name, rangeAsked || request.method === 'HEAD', via);
    if (got.how === 'missing') {
      this.#counters.misses += 1;
      describe(response, 'miss', 0);
      return sendText(request, response, 404, 'No upstream has this object.', 'public, max-age=5');
    }
    this.#counters[got.how === 'hit' ? 'hits' : got.how === 'miss' ? 'misses' : 'joined'] += 1;
    try {
      const age = Math.max(0, Math.floor((this.#clock.now() - got.source.storedMs) / 1000));
      response.setHeader('cache-control', IMMUTABLE);
      response.setHeader('etag', etag);
      response.setHeader('accept-ranges', 'bytes');
      response.setHeader('age', age);
      describe(response, got.how === 'hit' ? 'hit' : 'miss', 31_536_000 - age);
      if (matchesEtag(request.headers['if-none-match'], etag)) response.writeHead(304).end();
      else await this.#body(request, response, got.source, etag);
    } finally {
      await got.source.release();
    }
  }

  async #body(
    request: IncomingMessage,
    response: ServerResponse,
    source: BodySource,
    etag: string,
  ): Promise<void> {
    const range = rangeOf(request, etag, source.bytes);
    if (range.kind === 'unsatisfiable') {
      response.setHeader('content-range', `bytes */${source.bytes}`);
      return sendText(request, response, 416, 'The range is outside of the object.', 'no-store');
    }
    const start = range.kind === 'part' ? range.start : 0;
    const end = range.kind === 'part' ? range.end : source.bytes - 1;
    if (range.kind === 'part') response.setHeader('content-range', `bytes ${start}-${end}/${source.bytes}`);
    response.writeHead(range.kind === 'part' ? 206 : 200, {
      'content-type': 'application/octet-stream',
      'content-length': end - start + 1,
      'x-content-type-options': 'nosniff',
    });
    if (request.method === 'HEAD') response.end();
    else this.#counters.bytesServed += await sendSource(response, source, start, end);
  }

  #failed(request: IncomingMessage, response: ServerResponse, path: string, error: PilotageError): void {
    this.#counters.failed += 1;
    this.#log.warn(
      { path, code: error.code, where: error.where, found: error.found },
      'no answer for a client',
    );
    if (response.headersSent) return void response.destroy();
    response.setHeader('cache-status', `pilotage-cache; fwd=miss; detail=${error.code}`);
    if (error.retryAfterSeconds !== undefined) response.setHeader('retry-after', error.retryAfterSeconds);
    const status =
      error.code === 'E_UPSTREAM_TIMEOUT' ? 504 : error.code.startsWith('E_UPSTREAM') ? 502 : 500;
    sendText(
      request,
      response,
      status,
      `${error.code}: ${error.message} (${error.where ?? path})`,
      'no-store',
    );
  }
}

/** Cache-Status (RFC 9211), and X-Cache for people and older tools. */
function describe(response: ServerResponse, how: Answered['how'], secondsLeft: number): void {
  const status = {
    hit: 'hit',
    miss: 'fwd=miss',
    revalidated: 'fwd=stale; fwd-status=304',
    stale: 'hit; detail=stale-if-error',
  };
  response.setHeader('cache-status', `pilotage-cache; ${status[how]}; ttl=${secondsLeft}`);
  response.setHeader('x-cache', how.toUpperCase());
}

const asksNoCache = (request: IncomingMessage): boolean =>
  /(^|[\s,])no-cache([\s,]|$)/i.test(request.headers['cache-control'] ?? '') ||
  (request.headers['cache-control'] === undefined && /no-cache/i.test(request.headers.pragma ?? ''));
