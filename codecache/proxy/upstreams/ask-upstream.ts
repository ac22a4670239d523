import type { LookupFunction } from 'node:net';
import { Readable } from 'node:stream';
import { Agent, request } from 'undici';
import type { Dispatcher } from 'undici';
import type { Clock } from '../../../lib/clock.ts';
import { Exchange } from './exchange.ts';
import { MAX_RUNNING } from './upstream.ts';
import type { Upstream } from './upstream.ts';
import type { Turn } from './upstream-health.ts';

export interface UpstreamTimeouts {
  connectSeconds: number;
  /** From request to response header. */
  headerSeconds: number;
  /** Without a byte of the body: a stall. Slowness alone is never a failure. */
  stallSeconds: number;
  /** For one whole answer. */
  totalSeconds: number;
}

export interface UpstreamAnswer {
  status: number;
  /** Names in lower case; only values of visible ASCII, which can be passed on as they are. */
  headers: Record<string, string>;
  body: Readable;
}

export interface UpstreamRequest {
  path: string;
  headers: Record<string, string>;
  method: 'GET' | 'HEAD';
  totalSeconds: number;
}

const MAX_HEADER_BYTES = 16_384;
/** When an upstream closes all its idle connections, one after the other is found closed. */
const MAX_REPEATS = 4;
/** While a request waits to see whether a probe succeeds; then it goes elsewhere, or its client is told. */
const PATIENCE_MS = 1000;

/**
 * Connections to upstreams, kept alive and shared by all views of a process. A host name's addresses are tried one after
 * the other, of both families (RFC 8305). Redirects are not followed.
 */
export const upstreamAgent = (timeouts: UpstreamTimeouts, lookup?: LookupFunction): Agent =>
  new Agent({
    connect: {
      timeout: timeouts.connectSeconds * 1000,
      autoSelectFamily: true,
      ...(lookup && { lookup }),
    },
    allowH2: false,
    headersTimeout: timeouts.headerSeconds * 1000,
    bodyTimeout: timeouts.stallSeconds * 1000,
    connections: 2 * MAX_RUNNING,
    maxHeaderSize: MAX_HEADER_BYTES,
  });

/**
 * Sends one request when the upstream's health and its other requests allow it. A connection that the upstream closed
 * just as it was used again is replaced: that is no failure.
 *
 * @returns whatever it answers, or why it was not asked. @throws what the connection says.
 */
export async function askUpstream(
  agent: Agent,
  upstream: Upstream,
  asked: UpstreamRequest,
  clock: Clock,
): Promise<UpstreamAnswer | { notAsked: string }> {
  const entered = upstream.gate.enter();
  if (entered !== true && !(await entered)) return { notAsked: 'too many requests wait for it' };
  const turn = upstream.health.begin() ?? (await turnAfterProbe(upstream, clock));
  if (turn === undefined) {
    upstream.gate.leave();
    return { notAsked: upstream.health.state === 'probed' ? 'it is being probed' : 'it rests' };
  }
  const exchange = new Exchange(upstream, turn, clock);
  upstream.counted.requests += 1;
  try {
    const reply = await send(agent, upstream, asked, exchange);
    // A body let go of half-read reports that as an error; whoever reads it gets the error from reading.
    reply.body.on('error', () => undefined);
    if (reply.statusCode === 200) upstream.counted.answers += 1;
    return { status: reply.statusCode, headers: plainHeaders(reply.headers), body: reply.body };
  } catch (error) {
    exchange.end('failed');
    throw error;
  }
}

/** Waits for the outcome of a probe, so that a false alarm costs nobody an answer; not for long, and not for a rest. */
async function turnAfterProbe({ health }: Upstream, clock: Clock): Promise<Turn | undefined> {
  if (health.state !== 'probed') return undefined;
  const patience = new AbortController();
  const over = clock.sleep(PATIENCE_MS, patience.signal).then(
    () => true,
    () => true,
  );
  try {
    for (;;) {
      if (await Promise.race([over, health.verdict.then(() => false)])) return undefined;
      const turn = health.begin();
      if (turn !== undefined || health.state !== 'probed') return turn;
    }
  } finally {
    patience.abort();
  }
}

async function send(
  agent: Agent,
  upstream: Upstream,
  { path, method, headers, totalSeconds }: UpstreamRequest,
  exchange: Exchange,
): Promise<Dispatcher.ResponseData> {
  const signal = AbortSignal.timeout(totalSeconds * 1000);
  const { origin } = new URL(upstream.url);
  for (let left = MAX_REPEATS; ; left -= 1) {
    const idle = (agent.stats[origin] as { free?: number } | undefined)?.free ?? 0;
    const mayRepeat = (error: Error): boolean =>
      left > 0 && idle > 0 && !exchange.answering && isClosed(error);
    const watch: Dispatcher.DispatcherComposeInterceptor = dispatch => (options, handler) =>
      dispatch(options, exchange.watch(handler, mayRepeat));
    try {
      return await request(`${upstream.url}/${path}`, {
        method,
        dispatcher: agent.compose(watch),
        headers: { 'accept-encoding': 'identity', ...headers },
        signal,
      });
    } catch (error) {
      if (!(error instanceof Error) || !mayRepeat(error)) throw error;
      upstream.counted.retried += 1;
    }
  }
}

const isClosed = (error: Error): boolean =>
  ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'].includes((error as NodeJS.ErrnoException).code ?? '');

/** An answer that is not there, for whoever expects one. */
export const nothing = (): UpstreamAnswer => ({ status: 404, headers: {}, body: Readable.from([]) });

const DUMP_BYTES = 65_536;
const DUMP_MS = 2000;

/** Lets go of a body that nobody reads; a short one is read to its end, so that the connection can be used again. */
export async function dump({ body }: UpstreamAnswer): Promise<void> {
  const deadline = setTimeout(() => body.destroy(), DUMP_MS);
  try {
    let bytes = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > DUMP_BYTES) break;
    }
  } catch {
    return; // Nobody wanted it.
  } finally {
    clearTimeout(deadline);
  }
}

/** What cannot be passed on as it is, is as if it had not been sent: no value can end a line of another answer. */
function plainHeaders(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  const plain: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    const text = Array.isArray(value) ? value.join(', ') : (value ?? '');
    if (/^[\t\x20-\x7e]+$/.test(text)) plain[name] = text;
  }
  return plain;
}
