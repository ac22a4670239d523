import type { Executor, JobRow } from '../schema.ts';

/** One job by id. */
export const findJob = (db: Executor, jobId: string): Promise<JobRow | undefined> =>
  db.selectFrom('job').selectAll().where('job_id', '=', jobId).executeTakeFirst();
