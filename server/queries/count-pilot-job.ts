import { sql } from 'kysely';
import type { Executor } from '../schema.ts';

/** Adds one to the jobs a pilot has brought to an end. */
export async function countPilotJob(db: Executor, pilotId: string): Promise<void> {
  await db
    .updateTable('pilot')
    .set({ jobs_done: sql<number>`jobs_done + 1` })
    .where('pilot_id', '=', pilotId)
    .execute();
}
