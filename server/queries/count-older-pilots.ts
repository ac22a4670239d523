import { sql } from 'kysely';
import type { Executor } from '../schema.ts';

/** Working pilots of a queue that enrolled before this one; at or above a lowered cap, this one is to drain. */
export async function countOlderPilots(
  db: Executor,
  pilot: { queue: string; pilot_id: string },
): Promise<number> {
  const row = await db
    .selectFrom('pilot')
    .select(sql<number>`count(*)`.as('older'))
    .where('queue', '=', pilot.queue)
    .where('state', '=', 'working')
    .where('pilot_id', '<', pilot.pilot_id)
    .executeTakeFirstOrThrow();
  return row.older;
}
