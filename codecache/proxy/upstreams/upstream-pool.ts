import type { LookupFunction } from 'node:net';
import type { Agent } from 'undici';
import type { Clock } from '../../../lib/clock.ts';
import type { Logger } from '../../../lib/log.ts';
import { askUpstream, dump, nothing, upstreamAgent } from './ask-upstream.ts';
import type { UpstreamAnswer, UpstreamRequest, UpstreamTimeouts } from './ask-upstream.ts';
import { Upstream } from './upstream.ts';
import type { UpstreamStats } from './upstream-stats.ts';

/** A sibling is near and has it, or not. */
const SIBLING = { connectSeconds: 1, headerSeconds: 2, stallSeconds: 5 } as const;
const ANSWERS = new Set([200, 304, 404, 410]);

/** Every upstream and sibling of a process: one connection pool and one health for each URL, whichever view asks it. */
export class UpstreamPool {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #timeouts: UpstreamTimeouts;
  readonly #random: (() => number) | undefined;
  readonly #agent: Agent;
  readonly #siblingAgent: Agent;
  readonly #known = new Map<string, Upstream>();

  constructor(options: {
    clock: Clock;
    log: Logger;
    timeouts: UpstreamTimeouts;
    /** For tests; default the system's resolver. */
    lookup?: LookupFunction;
    /** From 0 up to 1; default Math.random. */
    random?: () => number;
  }) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#timeouts = options.timeouts;
    this.#random = options.random;
    this.#agent = upstreamAgent(options.timeouts, options.lookup);
    this.#siblingAgent = upstreamAgent({ ...options.timeouts, ...SIBLING }, options.lookup);
  }

  /** The same object for the same URL. */
  upstream(url: string, role: 'upstream' | 'sibling' = 'upstream'): Upstream {
    const base = url.replace(/\/+$/, '');
    const key = `${role} ${new URL(base).href}`;
    let known = this.#known.get(key);
    if (known === undefined) {
      const { headerSeconds } = this.#timeouts;
      known = new Upstream({
        url: base,
        sibling: role === 'sibling',
        clock: this.#clock,
        log: this.#log,
        queueSeconds: role === 'sibling' ? SIBLING.headerSeconds : headerSeconds,
        ...(this.#random && { random: this.#random }),
      });
      this.#known.set(key, known);
    }
    return known;
  }

  /**
   * One GET or HEAD. The caller reads or dumps the body. A sibling is asked only for what it has (only-if-cached), and is
   * never a reason to fail: without an answer it does not have it, status 404.
   *
   * @throws E_UPSTREAM_FAILED, E_UPSTREAM_TIMEOUT naming the upstream; a status that is no answer (429, 5xx and all but
   *   200, 304, 404, 410) is a failure, and so is a body that was encoded on the way.
   */
  async ask(
    upstream: Upstream,
    path: string,
    headers: Record<string, string>,
    method: 'GET' | 'HEAD' = 'GET',
  ): Promise<UpstreamAnswer> {
    const { totalSeconds } = this.#timeouts;
    if (!upstream.sibling) return this.#ask(upstream, { path, headers, method, totalSeconds });
    // Past its copies there is nothing to have from it.
    if (headers['cache-control'] !== undefined) return nothing();
    const onlyIfCached = { ...headers, 'cache-control': 'only-if-cached' };
    try {
      return await this.#ask(upstream, { path, headers: onlyIfCached, method, totalSeconds });
    } catch {
      return nothing(); // Its failure was noted.
    }
  }

  async #ask(upstream: Upstream, asked: UpstreamRequest): Promise<UpstreamAnswer> {
    const { path } = asked;
    let answer: Awaited<ReturnType<typeof askUpstream>>;
    try {
      const agent = upstream.sibling ? this.#siblingAgent : this.#agent;
      answer = await askUpstream(agent, upstream, asked, this.#clock);
    } catch (error) {
      throw upstream.failed(path, error);
    }
    if ('notAsked' in answer) throw upstream.passedOver(path, answer.notAsked);
    const encoding = answer.headers['content-encoding'] ?? 'identity';
    if (ANSWERS.has(answer.status) && encoding === 'identity') return answer;
    await dump(answer);
    if (upstream.sibling && answer.status === 504) return nothing();
    throw upstream.failed(
      path,
      encoding === 'identity' ? `status ${answer.status}` : `content-encoding ${encoding}`,
    );
  }

  stats(): UpstreamStats[] {
    return [...this.#known.values()].map(upstream => upstream.stats());
  }

  async close(): Promise<void> {
    await Promise.all([this.#agent.destroy(), this.#siblingAgent.destroy()]);
  }
}
