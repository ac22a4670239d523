import type { Executor } from '../schema.ts';

/** Notes that a job is to end; the first request stays. */
export async function requestKill(db: Executor, jobId: string, atMs: number, reason: string): Promise<void> {
  await db
    .updateTable('job')
    .set({ kill_requested_ms: atMs, kill_reason: reason })
    .where('job_id', '=', jobId)
    .where('kill_requested_ms', 'is', null)
    .execute();
}
