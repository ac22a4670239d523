import type { PilotageError } from '../../../lib/errors.ts';
import { cachesOf } from '../../http/cache-group.ts';
import type { CodecacheErrorCode } from '../../errors.ts';
import type { UpstreamAnswer } from './ask-upstream.ts';
import { siblingOrder } from './sibling-order.ts';
import type { Upstream } from './upstream.ts';
import type { UpstreamPool } from './upstream-pool.ts';

/** Whom a request would rather be answered by; URLs as in UpstreamStats. */
export interface Preference {
  /** Asked first when it is well: the upstream whose timestamp is in force. */
  prefer?: string | undefined;
  /** Asked last: its answer is what the client complains of. */
  avoid?: string | undefined;
  /** Hash of an object that any cache of the site may have: siblings are asked before the upstreams. */
  object?: string | undefined;
  /** False: who rests after a failure is left out, because there is something else to answer with. Default true. */
  lastResort?: boolean;
}

/**
 * The places a view fetches from: groups in order, each begun at a random member, so that its load is spread. Whoever
 * failed just now or is being probed is asked after all others, whoever sent forged bytes after those.
 */
export class Upstreams {
  readonly #groups: readonly (readonly Upstream[])[];
  readonly #siblings: readonly Upstream[];
  readonly #pool: UpstreamPool;
  readonly #random: () => number;

  /** @param options.groups `http://a|http://b` is one group; `random` from 0 up to 1, default Math.random. */
  constructor(options: {
    groups: readonly string[];
    siblings?: readonly string[];
    pool: UpstreamPool;
    random?: () => number;
  }) {
    const { pool } = options;
    this.#pool = pool;
    this.#groups = options.groups.map(group => cachesOf(group).map(url => pool.upstream(url)));
    this.#siblings = (options.siblings ?? []).map(url => pool.upstream(url, 'sibling'));
    this.#random = options.random ?? Math.random;
  }

  /**
   * Whom to ask, best first. To be taken one after the other, each asked before the next is taken: what is known of an
   * upstream may have changed meanwhile.
   */
  *order({ prefer, avoid, object, lastResort = true }: Preference = {}): Generator<Upstream, void> {
    if (object !== undefined) {
      for (const sibling of siblingOrder(this.#siblings, object))
        if (sibling.health.ready && sibling.blames.trusted) yield sibling;
    }
    const left = this.#groups.flatMap(group => {
      const start = Math.floor(this.#random() * group.length);
      return [...group.slice(start), ...group.slice(0, start)];
    });
    const rank = ({ url, health, blames }: Upstream): number =>
      (url === avoid ? 8 : 0) + (blames.trusted ? 0 : 4) + (health.ready ? 0 : 2) + (url === prefer ? 0 : 1);
    while (left.length > 0) {
      const [best] = left.toSorted((a, b) => rank(a) - rank(b)) as [Upstream];
      left.splice(left.indexOf(best), 1);
      if (lastResort || best.health.ready) yield best;
    }
  }

  /** See {@link UpstreamPool.ask}. */
  ask(
    upstream: Upstream,
    path: string,
    headers: Record<string, string>,
    method: 'GET' | 'HEAD' = 'GET',
  ): Promise<UpstreamAnswer> {
    return this.#pool.ask(upstream, path, headers, method);
  }

  /** Notes a failure that shows in the answer or its body, and makes the error that names the upstream. */
  failed(upstream: Upstream, path: string, reason: unknown): PilotageError<CodecacheErrorCode> {
    return upstream.failed(path, reason);
  }

  /** It sent bytes that are not what their name says: it is named in log and counters, and asked last for a while. */
  blame(
    upstream: Upstream,
    path: string,
    expected: string,
    found: string,
  ): PilotageError<CodecacheErrorCode> {
    return upstream.blame(path, expected, found);
  }

  /**
   * It sent a file that does not fit what metadata says: it is blamed when it said so itself.
   *
   * @param wrong `by` is the URL of the upstream whose metadata says so.
   */
  misnamed(
    upstream: Upstream,
    path: string,
    { by, expected, found }: { by: string; expected: string; found: string },
  ): PilotageError<CodecacheErrorCode> {
    return by === upstream.url
      ? upstream.blame(path, expected, found)
      : upstream.contradicted(path, by, expected, found);
  }
}
