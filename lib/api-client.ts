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
import { undiciTransport } from './transport.ts';
import type { ClientTls, Transport } from './transport.ts';
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
  tls: ClientTls;
  /** How requests travel; undici when not given. */
  transport?: Transport;
  clock?: Clock;
  log?: Logger;
  timeoutSeconds?: number;
}

/**
 * The client of every part that talks to a server: one idempotency key over all repeats of a call, failover over the
 * servers, and retries by the error table and nothing else. TLS sessions are never resumed.
 */
export function createApiClient(options: ApiClientOptions): ApiClient {
  const clock = options.clock ?? systemClock;
  const log = options.log ?? silentLog;
  const transport = options.transport ?? undiciTransport(options.tls);
  let preferred = 0;

  async function once(
    route: Route,
    base: string,
    input: CallInput<RouteName>,
    key: string | undefined,
  ): Promise<unknown> {
    const url =
      base.replace(/\/$/, '') + fillPath(route.path, input.params ?? {}) + queryString(input.query ?? {});
    const response = await transport.send({
      url,
      method: route.method,
      headers: {
        accept: 'application/json',
        'user-agent': `pilotage/${version}`,
        ...(route.method === 'POST' && { 'content-type': 'application/json' }),
        ...(key !== undefined && { [IDEMPOTENCY_HEADER]: key }),
      },
      body: route.method === 'POST' ? JSON.stringify(input.body ?? {}) : null,
      deadlineMs: Math.ceil((input.timeoutSeconds ?? options.timeoutSeconds ?? 30) * 1000),
      signal: input.signal,
    });
    const value = parseJson(response.text);
    if (response.status >= 400) {
      throw fromProblem(response.status, value, url, header(response.headers['retry-after']));
    }
    const parsed = route.reply.safeParse(value);
    if (parsed.success) return parsed.data;
    throw libError({
      code: 'E_PROTOCOL',
      message: `The answer does not fit the contract: ${parsed.error.issues[0]?.path.join('.')}: ${parsed.error.issues[0]?.message}.`,
      where: url,
      fix: 'Client and server may be of versions that do not fit.',
    });
  }

  return {
    async call(name, input = {}) {
      const route: Route = routes[name];
      const key = route.write ? (input.idempotencyKey ?? newId()) : undefined;
      const patienceMs = (input.patienceSeconds ?? 30) * 1000;
      const started = clock.monotonic();
      let internalRepeats = 0;
      // The call's own place in the list: other calls that fail at the same time must not make it skip a server.
      let server = preferred;
      for (let attempt = 0; ; attempt += 1) {
        const base = options.servers[server]!;
        try {
          const reply = (await once(route, base, input, key)) as ReplyBody<typeof name>;
          preferred = server;
          return reply;
        } catch (error) {
          if (!(error instanceof PilotageError)) throw error;
          const action = clientAction(error);
          if (action === 'repeat elsewhere once') internalRepeats += 1;
          const mayRepeat =
            action === 'repeat elsewhere after Retry-After' ||
            (action === 'repeat elsewhere once' && internalRepeats <= 1);
          if (!mayRepeat) throw error;
          server = (server + 1) % options.servers.length;
          const triedAll = attempt + 1 >= options.servers.length;
          const waitMs = triedAll ? backoffMs(error, attempt + 1 - options.servers.length) : 0;
          if (triedAll && clock.monotonic() - started + waitMs > patienceMs) throw error;
          log.debug({ code: error.code, base, route: name, waitMs }, 'repeating call');
          if (waitMs > 0) await clock.sleep(waitMs, input.signal);
        }
      }
    },
    close: () => transport.close(),
  };
}

/** What a client does about an error: the error table, and "try elsewhere" for servers that cannot be reached. */
export function clientAction(error: PilotageError): ClientAction {
  if (isWireErrorCode(error.code)) return errorTable[error.code].client;
  return error.code === 'E_UNREACHABLE' || error.code === 'E_TIMEOUT'
    ? 'repeat elsewhere after Retry-After'
    : 'fix the request';
}

/** Growing pauses, spread so that many clients do not come back at once; never before the time the server asked for. */
function backoffMs(error: PilotageError, round: number): number {
  const pauseMs = Math.min(250 * 2 ** round, 10_000) * (0.75 + Math.random() * 0.5);
  const askedMs = (error.retryAfterSeconds ?? 0) * 1000;
  return askedMs === 0 ? pauseMs : Math.max(pauseMs, askedMs * (1 + Math.random() * 0.25));
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

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const header = (value: string | string[] | undefined): string | undefined =>
  Array.isArray(value) ? value[0] : value;
