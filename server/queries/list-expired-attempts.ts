import type { Executor } from '../schema.ts';

/** Attempts whose lease ran out before `atMs`, the longest overdue first. */
export const listExpiredAttempts = (
  db: Executor,
  atMs: number,
  limit: number,
): Promise<{ job_id: string; attempt_id: string }[]> =>
  db
    .selectFrom('attempt')
    .select(['job_id', 'attempt_id'])
    .where('ended_ms', 'is', null)
    .where('lease_until_ms', '<', atMs)
    .orderBy('lease_until_ms')
    .limit(limit)
    .execute();
