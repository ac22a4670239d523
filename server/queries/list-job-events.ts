import type { Executor, ServerTables } from '../schema.ts';

/** A job's history, oldest first, at most 1,000 lines. */
export const listJobEvents = (db: Executor, jobId: string): Promise<ServerTables['job_event'][]> =>
  db
    .selectFrom('job_event')
    .selectAll()
    .where('job_id', '=', jobId)
    .orderBy('at_ms')
    .orderBy('event_id')
    .limit(1000)
    .execute();
