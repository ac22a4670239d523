import type { Executor, JobRow } from '../schema.ts';

/** Fields that may change together with a job's state. */
export type JobChange = Partial<
  Pick<
    JobRow,
    | 'cause_code'
    | 'cause_text'
    | 'attempts'
    | 'tries'
    | 'current_attempt_id'
    | 'accepted_attempt_id'
    | 'changed_ms'
  >
>;

/** Changes a job's state if it still is `from`; only move-job.ts calls this. @returns whether it was. */
export async function updateJobState(
  db: Executor,
  jobId: string,
  from: string,
  to: string,
  change: JobChange,
): Promise<boolean> {
  const result = await db
    .updateTable('job')
    .set({ ...change, state: to })
    .where('job_id', '=', jobId)
    .where('state', '=', from)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}
