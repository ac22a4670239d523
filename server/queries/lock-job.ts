import { sql } from 'kysely';
import type { Executor, JobRow } from '../schema.ts';
import { findJob } from './find-job.ts';

/**
 * Makes everything that may end or move one job take turns. Lock order in the product: queue, pilot, job.
 * @returns the job as it is once the turn is ours.
 */
export async function lockJob(db: Executor, jobId: string): Promise<JobRow | undefined> {
  await db
    .updateTable('job')
    .set({ changed_ms: sql<number>`changed_ms` })
    .where('job_id', '=', jobId)
    .execute();
  return findJob(db, jobId);
}
