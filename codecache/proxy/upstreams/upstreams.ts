import { Agent, request } from 'undici';
import type { Dispatcher } from 'undici';
import type { Clock } from '../../../lib/clock.ts';
import type { PilotageError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/log.ts';
import { codecacheError } from '../../errors.ts';
import type { CodecacheErrorCode } from '../../errors.ts';

export interface UpstreamTimeouts {
  connectSeconds: number;
  /** From request to response header. */
  headerSeconds: number;
  /** Without a byte of the body: a stall. Slowness alone is never a failure. */
  stallSeconds: number;
  /** For one whole answer. */
  totalSeconds: number;
}

export interface UpstreamStats {
  url: string;
  healthy: boolean;
  requests: number;
  failures: number;
  /** Answers whose bytes were not what their name says. */
  blamed: number;
  lastBlame?: { object: string; found: string; atMs: number };
}

export interface Upstream {
  readonly url: string;
  /** Another cache of the site: asked only for what it has already. */
  readonly sibling: boolean;
  readonly stats: Omit<UpstreamStats, 'url' | 'healthy'>;
  consecutiveFailures: number;
  retryAtMs: number;
}

/** Whom a request would rather be answered by; URLs as in {@link UpstreamStats}. */
export interface Preference {
  /** Asked first when it is well: the upstream whose timestamp is in force. */
  prefer?: string | undefined;
  /** Asked last: its answer is what the client complains of. */
  avoid?: string | undefined;
  /** Hash of an object that any cache of the site may have: siblings are asked before the upstreams. */
  object?: string | undefined;
}

export interface UpstreamAnswer {
  status: number;
  headers: Record<string, string>;
  body: Dispatcher.ResponseData['body'];
}

const BACKOFF_FIRST_MS = 2000;
const BACKOFF_MAX_MS = 10_000;

/**
 * The places a cache fetches from, in the order given. A failing one is passed over for a while (2 s doubling to 10 s,
 * or what its Retry-After says) but still tried last, so that a wrong judgement never costs availability.
 */
export class Upstreams {
  readonly #list: Upstream[];
  readonly #agent: Agent;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #timeouts: UpstreamTimeouts;

  constructor(options: { urls: string[]; clock: Clock; log: Logger; timeouts: UpstreamTimeouts }) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#timeouts = options.timeouts;
    this.#list = options.urls.map(url => ({
      url: url.replace(/\/+$/, ''),
      sibling: false,
      stats: { requests: 0, failures: 0, blamed: 0 },
      consecutiveFailures: 0,
      retryAtMs: 0,
    }));
    this.#agent = new Agent({
      connect: { timeout: options.timeouts.connectSeconds * 1000 },
      headersTimeout: options.timeouts.headerSeconds * 1000,
      bodyTimeout: options.timeouts.stallSeconds * 1000,
      connections: 32,
      maxHeaderSize: 16_384,
    });
  }

  /**
   * Whom to ask, best first. To be taken one after the other, each asked before the next is taken: what is known of an
   * upstream may have changed meanwhile.
   */
  order({ prefer, avoid }: Preference = {}): Iterable<Upstream> {
    const now = this.#clock.now();
    const rank = (upstream: Upstream) =>
      (upstream.url === avoid ? 4 : 0) +
      (upstream.retryAtMs > now ? 2 : 0) +
      (upstream.url === prefer ? 0 : 1);
    return this.#list.toSorted((a, b) => rank(a) - rank(b));
  }

  /**
   * One GET or HEAD. The caller reads or dumps the body.
   *
   * @throws E_UPSTREAM_FAILED, E_UPSTREAM_TIMEOUT naming the upstream; a status that is no answer (429, 5xx and all but
   *   200, 304, 404, 410) is a failure.
   */
  async ask(
    upstream: Upstream,
    path: string,
    headers: Record<string, string>,
    method: 'GET' | 'HEAD' = 'GET',
  ): Promise<UpstreamAnswer> {
    upstream.stats.requests += 1;
    let reply: Dispatcher.ResponseData;
    try {
      reply = await request(`${upstream.url}/${path}`, {
        method,
        dispatcher: this.#agent,
        headers: { 'accept-encoding': 'identity', ...headers },
        signal: AbortSignal.timeout(this.#timeouts.totalSeconds * 1000),
      });
    } catch (error) {
      throw this.failed(upstream, path, error);
    }
    // A body let go of half-read reports that as an error; whoever reads it gets the error from reading.
    reply.body.on('error', () => undefined);
    const answer: UpstreamAnswer = {
      status: reply.statusCode,
      headers: flatten(reply.headers),
      body: reply.body,
    };
    const encoding = answer.headers['content-encoding'];
    if ([200, 304, 404, 410].includes(answer.status) && (encoding === undefined || encoding === 'identity'))
      return answer;
    await dump(answer);
    const what = encoding === undefined ? `status ${answer.status}` : `content-encoding ${encoding}`;
    throw this.failed(upstream, path, what, Number(answer.headers['retry-after']));
  }

  /** Notes a failure and makes the error that names it. */
  failed(
    upstream: Upstream,
    path: string,
    reason: unknown,
    retryAfterSeconds = Number.NaN,
  ): PilotageError<CodecacheErrorCode> {
    const found =
      reason instanceof Error ? ((reason as NodeJS.ErrnoException).code ?? reason.message) : String(reason);
    upstream.stats.failures += 1;
    upstream.consecutiveFailures += 1;
    const backoff = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (upstream.consecutiveFailures - 1));
    const waitMs = retryAfterSeconds >= 0 ? Math.min(300, retryAfterSeconds) * 1000 : backoff;
    upstream.retryAtMs = this.#clock.now() + waitMs;
    this.#log.warn({ upstream: upstream.url, object: path, found, waitMs }, 'upstream failed');
    return codecacheError({
      code: /TIMEOUT|timeout/.test(found) ? 'E_UPSTREAM_TIMEOUT' : 'E_UPSTREAM_FAILED',
      message: 'The upstream gave no usable answer.',
      where: `${upstream.url}/${path}`,
      found,
      fix: 'Check that the upstream runs and can be reached from here.',
      cause: reason,
    });
  }

  worked(upstream: Upstream): void {
    upstream.consecutiveFailures = 0;
    upstream.retryAtMs = 0;
  }

  /** The upstream sent bytes that are not what their name says: it is named in log and counters. */
  blame(
    upstream: Upstream,
    path: string,
    expected: string,
    found: string,
  ): PilotageError<CodecacheErrorCode> {
    upstream.stats.blamed += 1;
    upstream.stats.lastBlame = { object: path, found, atMs: this.#clock.now() };
    this.#log.error(
      { upstream: upstream.url, object: path, expected, found },
      'upstream sent forged or damaged bytes',
    );
    return codecacheError({
      code: 'E_UPSTREAM_FORGED',
      message: 'The upstream sent bytes that are not what their name says; nothing of them was kept.',
      where: `${upstream.url}/${path}`,
      expected,
      found,
      fix: 'Check this upstream, and what lies between it and the origin.',
    });
  }

  stats(): UpstreamStats[] {
    const now = this.#clock.now();
    return this.#list.map(upstream => ({
      url: upstream.url,
      healthy: upstream.retryAtMs <= now,
      ...upstream.stats,
    }));
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }
}

/** Lets go of a body that nobody reads. */
export async function dump(answer: UpstreamAnswer): Promise<void> {
  try {
    await answer.body.dump({ limit: 65_536, signal: AbortSignal.timeout(2000) });
  } catch {
    answer.body.destroy();
  }
}

function flatten(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  const flat: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) flat[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return flat;
}
