import type { Executor } from '../schema.ts';

/** Attempts that a pilot holds now, as (job, attempt) ids in job order. */
export const listAttemptsOfPilot = (
  db: Executor,
  pilotId: string,
): Promise<{ job_id: string; attempt_id: string }[]> =>
  db
    .selectFrom('attempt')
    .select(['job_id', 'attempt_id'])
    .where('pilot_id', '=', pilotId)
    .where('ended_ms', 'is', null)
    .orderBy('job_id')
    .execute();
