import type { DatabaseSync } from 'node:sqlite';
import type { RecentOutcomes } from '../plan/step.ts';
import { latestEnded } from './pilots.ts';

/** How the pilots that ended within `windowSeconds` did, and how long the present run of failures is. */
export function recentOutcomes(db: DatabaseSync, nowMs: number, windowSeconds: number): RecentOutcomes {
  const rows = latestEnded(db, 200).filter(row => ['done', 'done_empty', 'failed'].includes(row.state));
  const recent = rows.filter(row => nowMs - (row.endedMs ?? 0) <= windowSeconds * 1000);
  const streak = rows.slice(
    0,
    firstIndex(rows, row => row.state !== 'failed'),
  );
  const batches = db
    .prepare(
      "select state, changed_ms as changedMs from batch where state in ('submitted', 'rejected') and requested > 0 order by changed_ms desc, batch_id desc limit 50",
    )
    .all() as { state: string; changedMs: number }[];
  const rejected = batches.slice(
    0,
    firstIndex(batches, batch => batch.state !== 'rejected'),
  );
  const secondsSince = (atMs: number | null | undefined) =>
    atMs === null || atMs === undefined ? 0 : (nowMs - atMs) / 1000;
  return {
    ended: recent.length,
    empty: recent.filter(row => row.state === 'done_empty').length,
    failedPilots: streak.length,
    failedBatches: new Set(streak.map(row => row.batchId)).size,
    lastFailedAgoSeconds: secondsSince(streak[0]?.endedMs),
    rejections: rejected.length,
    lastRejectedAgoSeconds: secondsSince(rejected[0]?.changedMs),
  };
}

function firstIndex<T>(items: readonly T[], matches: (item: T) => boolean): number {
  const index = items.findIndex(matches);
  return index === -1 ? items.length : index;
}
