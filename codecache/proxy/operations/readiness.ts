import type { DiskStats } from '../objects/disk-tier.ts';
import type { UpstreamStats } from '../upstreams/upstream-stats.ts';
import type { Check } from './service-answers.ts';

/** What says whether a cache is of use to clients. */
export interface ReadinessParts {
  /** It was told to end, or to be out of service. */
  leaving(): boolean;
  disk(): DiskStats;
  upstreams(): readonly UpstreamStats[];
  /** Until when a timestamp is kept that may be served without any upstream, in epoch milliseconds; 0 without one. */
  usableUntilMs(): number;
  now(): number;
  /** Asks the upstreams for something that every client asks for; its outcome is in their numbers. */
  ask(): Promise<unknown>;
}

/**
 * The checks of `/readyz`. Nobody sends clients to a cache that is not ready, so it asks its upstreams itself then, one
 * question at a time: else it would never notice that they are back.
 */
export function readiness(parts: ReadinessParts): () => Check[] {
  let asking: Promise<unknown> | undefined;
  return () => {
    const leaving = parts.leaving();
    const source = sourceCheck(parts.usableUntilMs(), parts.now(), parts.upstreams());
    if (!source.ok && !leaving)
      asking ??= parts
        .ask()
        // Who failed and how is in the numbers and the log of the upstreams.
        .catch(() => undefined)
        .finally(() => (asking = undefined));
    return [
      { name: 'service', ok: !leaving, detail: leaving ? 'told to be out of service' : 'in service' },
      diskCheck(parts.disk()),
      source,
    ];
  };
}

/** A cache is of use while there is anyone to ask, or as long as it may answer without: nodes begin with the timestamp. */
function sourceCheck(usableUntilMs: number, nowMs: number, stats: readonly UpstreamStats[]): Check {
  const upstreams = stats.filter(({ role }) => role === 'upstream');
  const failing = upstreams.filter(({ healthy }) => !healthy).length;
  const usable = usableUntilMs > nowMs;
  const kept =
    usableUntilMs === 0
      ? 'no timestamp is kept'
      : `the timestamp kept ${usable ? 'serves' : 'served'} until ${new Date(usableUntilMs).toISOString()}`;
  return {
    name: 'source',
    ok: failing < upstreams.length || usable,
    detail: `${failing} of ${upstreams.length} upstreams fail; ${kept}`,
  };
}

/** With a disk that fails it goes on in memory: that is told, and is no reason to send clients elsewhere. */
const diskCheck = ({ degraded, failures }: DiskStats): Check => ({
  name: 'disk',
  ok: true,
  detail: degraded === 1 ? `fails (${failures} times): objects are kept in memory only` : 'takes objects',
});
