import CachePolicy from 'http-cache-semantics';
import type { Clock } from '../../../lib/clock.ts';

/** How long one stored answer may be used (RFC 9111, RFC 5861), from explicit headers only: no heuristics. */
export interface Freshness {
  readonly storable: boolean;
  fresh(): boolean;
  /** May the stored answer be served when every upstream fails? */
  usableOnError(): boolean;
  /** Epoch milliseconds at which its Age was zero. */
  readonly bornMs: number;
  /** Epoch milliseconds from which it is stale. */
  readonly freshUntilMs: number;
  /** After a 304 with these headers. */
  revalidated(headers: Record<string, string>): Freshness;
  toJson(): CachePolicy.CachePolicyObject;
}

const OPTIONS = { shared: true, cacheHeuristic: 0, immutableMinTimeToLive: 0 };
const REQUEST = { method: 'GET', headers: {} };

export interface FreshnessRules {
  judge(status: number, headers: Record<string, string>): Freshness;
  restore(json: CachePolicy.CachePolicyObject): Freshness;
}

/** http-cache-semantics, told the time by `clock`. */
export function freshnessRules(clock: Clock): FreshnessRules {
  class Policy extends CachePolicy {
    now(): number {
      return clock.now();
    }
  }
  const wrap = (policy: CachePolicy, status: number): Freshness => {
    const json = policy.toObject();
    const directives = json.rescc;
    const strict = ['must-revalidate', 'proxy-revalidate', 'no-cache'].some(name => name in directives);
    const staleSeconds = strict ? 0 : Number(directives['stale-if-error'] ?? 0) || 0;
    const varies = json.resh.vary !== undefined && !/^accept-encoding$/i.test(String(json.resh.vary));
    const bornMs = clock.now() - policy.age() * 1000;
    const freshUntilMs = bornMs + (varies ? 0 : policy.maxAge()) * 1000;
    return {
      storable: policy.storable() && !varies && (status === 200 || (status === 404 && policy.maxAge() > 0)),
      fresh: () => clock.now() < freshUntilMs,
      usableOnError: () => !varies && clock.now() < freshUntilMs + staleSeconds * 1000,
      bornMs,
      freshUntilMs,
      revalidated: headers => {
        const etag = String(json.resh.etag ?? '');
        const merged = { ...json.resh, ...headers, ...(etag && { etag }) } as Record<string, string>;
        if (headers.age === undefined) delete merged.age;
        return wrap(new Policy(REQUEST, { status, headers: merged }, OPTIONS), status);
      },
      toJson: () => json,
    };
  };
  return {
    judge: (status, headers) => wrap(new Policy(REQUEST, { status, headers }, OPTIONS), status),
    restore: json => wrap(Policy.fromObject(json), json.st),
  };
}
