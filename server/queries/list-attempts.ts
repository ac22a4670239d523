import type { AttemptRow, Executor } from '../schema.ts';

/** A job's attempts in order, at most 1,000. */
export const listAttempts = (db: Executor, jobId: string): Promise<AttemptRow[]> =>
  db
    .selectFrom('attempt')
    .selectAll()
    .where('job_id', '=', jobId)
    .orderBy('attempt_number')
    .limit(1000)
    .execute();
