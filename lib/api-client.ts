import { Agent, request } from 'undici';
import { PilotageError, libError } from './errors.ts';
import { errorTable, isWireErrorCode } from './error-table.ts';
import type { ClientAction } from './error-table.ts';
import { systemClock } from './clock.ts';
import type { Clock } from './clock.ts';
import { newId } from './ids.ts';
import { silentLog } from './log.ts';
import type { Logger } from './log.ts';
import { fromProblem } from './problem.ts';
import { IDEMPOTENCY_HEADER, routes } from './protocol.ts';
import type { PathParams, Query, ReplyBody, RequestBody, Route, RouteName } from './protocol.ts';
import { version } from './version.ts';

export interface CallInput<N extends RouteName> {
  params?: PathParams<N>;
  query?: Query<N>;
  body?: RequestBody<N>;
  /** Kept by the caller where a repeat after its own crash must get the same answer; else made per call. */
  idempotencyKey?: string;
  signal?: AbortSignal;
  /** For how long to go on trying other servers and waiting out 429/503; default 30 s, 0 tries each server once. */
  patienceSeconds?: number;
  /** Deadline of a single request; longer than the default for calls that wait at the server. */
  timeoutSeconds?: number;
}

export interface ApiClient {
  /**
   * Calls a route of the contract.
   *
   * @throws PilotageError with the wire code of the last answer; E_UNREACHABLE or E_TIMEOUT when no server answered;
   *   E_PROTOCOL when an answer does not fit the contract.
   */
  call<N extends RouteName>(name: N, input?: CallInput<N>): Promise<ReplyBody<N>>;
  close(): Promise<void>;
}

export interface ApiClientOptions {
  /** Base URLs, tried in order from the last one that worked. */
  servers: readonly string[];
  /** PEM texts. `ca` is the only authority trusted; `cert` is the whole chain, leaf first. */
  tls: { ca: string; cert?: string; key?: string };
  clock?: Clock;
  log?: Logger;
  timeoutSeconds?: number;
}

const MAX_REPLY_BYTES = 64 << 20;

/**
 * The client of every part that talks to a server: one idempotency key over all repeats of a call, failover over the
 * servers, and retries by the error table and nothing else. TLS sessions are never resumed.
 */
export function createApiClient(options: ApiClientOptions): ApiClient {
  const clock = options.clock ?? systemClock;
  const log = options.log ?? silentLog;
  const agent = new Agent({
    connect: {
      ca: options.tls.ca,
      ...(options.tls.cert !== undefined && { cert: options.tls.cert }),
      ...(options.tls.key !== undefined && { key: options.tls.key }),
      timeout: 10_000,
      maxCachedSessions: 0,
    },
    connections: 8,
    keepAliveTimeout: 30_000,
  });
  let preferred = 0;

  async function once(
    route: Route,
    base: string,
    input: CallInput<RouteName>,
    key: string | undefined,
  ): Promise<unknown> {
    const url =
      base.replace(/\/$/, '') + fillPath(route.path, input.params ?? {}) + queryString(input.query ?? {});
    const deadlineMs = (input.timeoutSeconds ?? options.timeoutSeconds ?? 30) * 1000;
    const timeout = AbortSignal.timeout(deadlineMs);
    try {
      const response = await request(url, {
        method: route.method,
        dispatcher: agent,
        headers: {
          accept: 'application/json',
          'user-agent': `pilotage/${version}`,
          ...(route.method === 'POST' && { 'content-type': 'application/json' }),
          ...(key !== undefined && { [IDEMPOTENCY_HEADER]: key }),
        },
        body: route.method === 'POST' ? JSON.stringify(input.body ?? {}) : null,
        signal: input.signal ? AbortSignal.any([input.signal, timeout]) : timeout,
        headersTimeout: deadlineMs,
        bodyTimeout: deadlineMs,
      });
      const text = await readBounded(response.body);
      const value = parseJson(text);
      if (response.statusCode >= 400) {
        throw fromProblem(response.statusCode, value, url, header(response.headers['retry-after']));
      }
      const parsed = route.reply.safeParse(value);
      if (parsed.success) return parsed.data;
      throw libError({
        code: 'E_PROTOCOL',
        message: `The answer does not fit the contract: ${parsed.error.issues[0]?.path.join('.')}: ${parsed.error.issues[0]?.message}.`,
        where: url,
        fix: 'Client and server may be of versions that do not fit.',
      });
    } catch (error) {
      if (error instanceof PilotageError) throw error;
      input.signal?.throwIfAborted();
      throw transportError(error, url, timeout.aborted, deadlineMs);
    }
  }

  return {
    async call(name, input = {}) {
      const route: Route = routes[name];
      const key = route.write ? (input.idempotencyKey ?? newId()) : undefined;
      const patienceMs = (input.patienceSeconds ?? 30) * 1000;
      const started = clock.monotonic();
      let internalRepeats = 0;
      for (let attempt = 0; ; attempt += 1) {
        const base = options.servers[preferred % options.servers.length]!;
        try {
          return (await once(route, base, input, key)) as ReplyBody<typeof name>;
        } catch (error) {
          if (!(error instanceof PilotageError)) throw error;
          const action = clientAction(error);
          if (action === 'repeat elsewhere once') internalRepeats += 1;
          const mayRepeat =
            action === 'repeat elsewhere after Retry-After' ||
            (action === 'repeat elsewhere once' && internalRepeats <= 1);
          if (!mayRepeat) throw error;
          preferred = (preferred + 1) % options.servers.length;
          const triedAll = attempt + 1 >= options.servers.length;
          const waitMs = triedAll ? backoffMs(error, attempt + 1 - options.servers.length) : 0;
          if (triedAll && clock.monotonic() - started + waitMs > patienceMs) throw error;
          log.debug({ code: error.code, base, route: name, waitMs }, 'repeating call');
          if (waitMs > 0) await clock.sleep(waitMs, input.signal);
        }
      }
    },
    close: () => agent.destroy(),
  };
}

/** What a client does about an error: the error table, and "try elsewhere" for servers that cannot be reached. */
export function clientAction(error: PilotageError): ClientAction {
  if (isWireErrorCode(error.code)) return errorTable[error.code].client;
  return error.code === 'E_UNREACHABLE' || error.code === 'E_TIMEOUT'
    ? 'repeat elsewhere after Retry-After'
    : 'fix the request';
}

function backoffMs(error: PilotageError, round: number): number {
  const base =
    error.retryAfterSeconds !== undefined
      ? error.retryAfterSeconds * 1000
      : Math.min(250 * 2 ** round, 10_000);
  return base * (0.75 + Math.random() * 0.5);
}

function fillPath(path: string, params: Record<string, unknown>): string {
  return path.replace(/:([A-Za-z]+)/g, (_, name: string) => encodeURIComponent(String(params[name])));
}

function queryString(query: Record<string, unknown>): string {
  const entries = Object.entries(query).filter(([, value]) => value !== undefined);
  return entries.length === 0
    ? ''
    : `?${new URLSearchParams(entries.map(([key, value]) => [key, String(value)])).toString()}`;
}

async function readBounded(body: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of body) {
    size += part.length;
    if (size > MAX_REPLY_BYTES)
      throw libError({ code: 'E_PROTOCOL', message: 'The answer is larger than any answer should be.' });
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const header = (value: string | string[] | undefined): string | undefined =>
  Array.isArray(value) ? value[0] : value;

function transportError(error: unknown, url: string, timedOut: boolean, deadlineMs: number): PilotageError {
  const origin = new URL(url).origin;
  const cause = error as NodeJS.ErrnoException;
  if (timedOut || /TIMEOUT/.test(cause.code ?? '')) {
    return libError({
      code: 'E_TIMEOUT',
      message: `The server did not answer within ${deadlineMs / 1000} s.`,
      where: origin,
      fix: 'Is it overloaded, or a firewall in between?',
      cause,
    });
  }
  const untrusted = /CERT|SELF_SIGNED|UNABLE_TO|ALTNAME/.test(cause.code ?? '');
  return libError({
    code: 'E_UNREACHABLE',
    message: untrusted
      ? `The server's certificate is not accepted (${cause.code}).`
      : `The server cannot be reached (${cause.code ?? cause.message}).`,
    where: origin,
    fix: untrusted
      ? 'Check the authority given as server CA, and the address.'
      : 'Is the server running there?',
    cause,
  });
}
