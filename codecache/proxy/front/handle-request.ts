import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../../lib/clock.ts';
import { PilotageError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/log.ts';
import type { ObjectName } from '../../http/object-name.ts';
import { sendText } from '../../http/short-answers.ts';
import type { AnswerCache } from '../metadata/answer-cache.ts';
import { parseCacheControl, secondsOf } from '../metadata/cache-control.ts';
import type { View } from '../metadata/kept-metadata.ts';
import { sendSource } from '../objects/body-source.ts';
import type { BodySource, HeldBody } from '../objects/body-source.ts';
import type { HashName, ObjectCache } from '../objects/object-cache.ts';
import { bodyFields, validatorFields } from './answer-head.ts';
import type { AnswerHead, Fields, HowAnswered } from './answer-head.ts';
import type { HotAnswers } from './hot-answers.ts';
import { portionOf } from './portion.ts';
import { readTarget } from './request-target.ts';

export interface RequestHandlerParts {
  views: ReadonlyMap<string, View>;
  answers: AnswerCache;
  objects: ObjectCache;
  hot: HotAnswers;
  /** Names this process in Via; a request that already has it went in a circle. */
  pseudonym: string;
  clock: Clock;
  log: Logger;
}

const IMMUTABLE_SECONDS = 31_536_000;
const IMMUTABLE = `public, max-age=${IMMUTABLE_SECONDS}, immutable, no-transform`;

/** A body that is whole in memory, or is read by position. */
type Body = { held: HeldBody } | { source: BodySource };

const STATUS: Readonly<Record<string, number>> = {
  E_NOT_CACHED: 504,
  E_UPSTREAM_TIMEOUT: 504,
  E_CACHE_BUSY: 503,
};

/** What nobody was asked for: RFC 9211 2.2 has fwd for requests that went on towards the origin. */
const NOT_FORWARDED: ReadonlySet<string> = new Set(['E_NOT_CACHED', 'E_CACHE_BUSY']);

interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  view: View;
  path: string;
  /** The caches the request came through, this one last. */
  via: string;
}

/**
 * Answers requests for objects of a code store through node:http: everything that the raw socket does not answer by
 * itself. What was served as a hit from memory is left to the raw socket from then on ({@link HotAnswers}).
 */
export class RequestHandler {
  readonly #parts: RequestHandlerParts;
  readonly #origins: ReadonlySet<string>;
  readonly #via: string;

  constructor(parts: RequestHandlerParts) {
    this.#parts = parts;
    this.#origins = new Set([...parts.views.keys()].filter(id => id !== ''));
    this.#via = `1.1 ${parts.pseudonym}`;
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = readTarget(request.url ?? '', this.#origins, request.socket);
    if (asked.kind === 'refused')
      return sendText(request, response, asked.status, asked.text, 'no-store', asked.status === 400);
    const before = request.headers.via;
    if (before?.includes(this.#parts.pseudonym) === true)
      return sendText(request, response, 508, 'The caches ask each other in a circle.', 'no-store');
    const view = this.#parts.views.get(asked.view)!;
    const via = before === undefined ? this.#via : `${before}, ${this.#via}`;
    try {
      const exchange = { request, response, view, path: asked.name.path, via };
      if (asked.name.kind === 'hash-named') await this.#object(exchange, asked.name);
      else await this.#answer(exchange, asked.name);
    } catch (error) {
      if (!(error instanceof PilotageError)) throw error;
      this.#failed(request, response, asked.name.path, error);
    }
  }

  async #answer(exchange: Exchange, name: ObjectName): Promise<void> {
    const { request, view, via } = exchange;
    const wish = { ...wishOf(request), via, fields: request.headers };
    const { how, answer } = await this.#parts.answers.get(view, name, wish);
    const { bornMs, freshUntilMs } = answer.freshness;
    const head: AnswerHead = {
      status: answer.status,
      contentType: answer.contentType,
      cacheControl: answer.cacheControl,
      etag: answer.etag,
      lastModified: answer.lastModified,
      vary: answer.vary,
      length: answer.body.length,
      ranges: false,
      bornMs,
      freshUntilMs,
    };
    await this.#send(exchange, head, how, { held: this.#parts.answers.held(answer) });
  }

  async #object(exchange: Exchange, name: HashName): Promise<void> {
    const { request, response, view, via } = exchange;
    const headOf = (length: number, storedMs: number): AnswerHead => ({
      status: 200,
      contentType: 'application/octet-stream',
      cacheControl: IMMUTABLE,
      etag: `"${name.sha256}"`,
      lastModified: undefined,
      vary: undefined,
      length,
      ranges: true,
      bornMs: storedMs,
      freshUntilMs: storedMs + IMMUTABLE_SECONDS * 1000,
    });
    const needs = (length: number): { start: number; end: number } | undefined => {
      const portion = portionOf(request, headOf(length, 0));
      if (portion.kind === 'part') return portion;
      return portion.kind === 'whole' && request.method === 'GET' ? { start: 0, end: length - 1 } : undefined;
    };
    // Past the cache there is nothing better: no-cache is ignored, for the bytes were held against the hash in their name.
    const { onlyIfCached } = wishOf(request);
    const left = new AbortController();
    response.once('close', () => left.abort());
    const wish = { needs, onlyIfCached, via, signal: left.signal };
    const got = await this.#parts.objects.get(view.upstreams, name, wish);
    if (got.how === 'left') return;
    if (got.how === 'missing')
      return sendText(request, response, 404, 'No upstream has this object.', 'no-store');
    const { how, source } = got;
    const head = headOf(source.bytes, source.storedMs);
    try {
      await this.#send(exchange, head, how, source.memory ? { held: source.memory } : { source });
    } finally {
      await source.release();
    }
  }

  async #send(
    { request, response, view, path }: Exchange,
    head: AnswerHead,
    how: HowAnswered,
    body: Body,
  ): Promise<void> {
    setFields(response, validatorFields(head, how, this.#parts.clock.now(), this.#via));
    const target = `${view.id}/${path}`;
    if (how === 'hit' && 'held' in body && request.url === target && head.vary === undefined)
      this.#parts.hot.put(target, head, body.held);
    const portion = portionOf(request, head);
    if (portion.kind === 'not-modified') return void response.writeHead(304).end();
    if (portion.kind === 'unsatisfiable') {
      response.setHeader('content-range', `bytes */${head.length}`);
      return sendText(request, response, 416, 'The range is outside of the object.', 'no-store');
    }
    const part = portion.kind === 'part';
    const start = part ? portion.start : 0;
    const end = part ? portion.end : head.length - 1;
    if (part) response.setHeader('content-range', `bytes ${start}-${end}/${head.length}`);
    setFields(response, bodyFields(head, end - start + 1));
    response.writeHead(part ? 206 : head.status);
    if (request.method === 'HEAD') response.end();
    else if ('held' in body) response.end(body.held.body.subarray(start, end + 1));
    else await sendSource(response, body.source, start, end);
  }

  #failed(request: IncomingMessage, response: ServerResponse, path: string, error: PilotageError): void {
    const { code, where, found } = error;
    this.#parts.log.warn({ path, code, where, found }, 'no answer for a client');
    if (response.headersSent) return void response.destroy();
    response.setHeader(
      'cache-status',
      `pilotage-cache; ${NOT_FORWARDED.has(code) ? '' : 'fwd=miss; '}detail=${code}`,
    );
    if (error.retryAfterSeconds !== undefined) response.setHeader('retry-after', error.retryAfterSeconds);
    const status = STATUS[code] ?? (code.startsWith('E_UPSTREAM') ? 502 : 500);
    sendText(request, response, status, `${code}: ${error.message} (${where ?? path})`, 'no-store');
  }
}

function setFields(response: ServerResponse, fields: Fields): void {
  for (const [name, value] of fields) response.setHeader(name, value);
}

/**
 * What a request asks of this cache itself (RFC 9111 5.2.1, 5.4). The others are preferences; no-store is ignored, too: it
 * is for what must stay between two, and everything here is public.
 */
function wishOf({ headers }: IncomingMessage): { noCache: boolean; onlyIfCached: boolean } {
  const given = headers['cache-control'];
  const directives = parseCacheControl(given ?? headers.pragma);
  return {
    noCache: directives.has('no-cache') || (given !== undefined && secondsOf(directives, 'max-age') === 0),
    onlyIfCached: given !== undefined && directives.has('only-if-cached'),
  };
}
