import type { Blame } from './blame-record.ts';

/** What one upstream or sibling did since the process started. */
export interface UpstreamStats {
  url: string;
  role: 'upstream' | 'sibling';
  /** False from a failure until it answers again. */
  healthy: boolean;
  /** False while it is asked last for having sent forged bytes. */
  trusted: boolean;
  /** Left of its rest after a failure. */
  restsSeconds: number;
  /** Requests that were sent to it. */
  requests: number;
  /** Answers with a body as asked for, status 200: of a sibling, what it had. */
  answers: number;
  /** Requests sent again because it closed an idle connection just then. */
  retried: number;
  failures: number;
  /** Requests that were not sent because it rests, is being probed, or has no room. */
  passedOver: number;
  /** Received in bodies. */
  bytes: number;
  /** Requests under way. */
  running: number;
  /** Requests that wait for room. */
  queued: number;
  /** Answers whose bytes were not what their name says. */
  blamed: number;
  lastFailure?: { object: string; found: string; atMs: number };
  lastBlame?: Blame;
  /** The last ones, newest last, at most 16. */
  blames: Blame[];
}

/** The same upstreams as several processes see them, as one: what was counted is added, what is newest is kept. */
export function mergeUpstreamStats(processes: readonly UpstreamStats[][]): UpstreamStats[] {
  const merged = new Map<string, UpstreamStats>();
  for (const stats of processes.flat()) {
    const key = `${stats.role} ${stats.url}`;
    const other = merged.get(key);
    merged.set(key, other === undefined ? stats : merge(other, stats));
  }
  return [...merged.values()];
}

function merge(a: UpstreamStats, b: UpstreamStats): UpstreamStats {
  const blames = [...a.blames, ...b.blames].toSorted((x, y) => x.atMs - y.atMs).slice(-16);
  const lastBlame = blames.at(-1);
  const lastFailure = [a.lastFailure, b.lastFailure]
    .filter(failure => failure !== undefined)
    .toSorted((x, y) => x.atMs - y.atMs)
    .at(-1);
  return {
    url: a.url,
    role: a.role,
    healthy: a.healthy && b.healthy,
    trusted: a.trusted && b.trusted,
    restsSeconds: Math.max(a.restsSeconds, b.restsSeconds),
    requests: a.requests + b.requests,
    answers: a.answers + b.answers,
    retried: a.retried + b.retried,
    failures: a.failures + b.failures,
    passedOver: a.passedOver + b.passedOver,
    bytes: a.bytes + b.bytes,
    running: a.running + b.running,
    queued: a.queued + b.queued,
    blamed: a.blamed + b.blamed,
    ...(lastFailure && { lastFailure }),
    ...(lastBlame && { lastBlame }),
    blames,
  };
}
