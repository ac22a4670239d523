import { sql } from 'kysely';
import type { Executor } from '../schema.ts';

/** How much of a queue's cap is taken: working pilots, and submissions that may still become one. */
export async function countPilots(
  db: Executor,
  queue: string,
  atMs: number,
): Promise<{ working: number; open: number }> {
  const row = await db
    .selectNoFrom([
      sql<number>`(select count(*) from pilot where queue = ${queue} and state = 'working')`.as('working'),
      sql<number>`(select count(*) from submission where queue = ${queue} and state = 'open'
        and valid_until_ms >= ${sql.lit(atMs)})`.as('open_now'),
    ])
    .executeTakeFirstOrThrow();
  return { working: row.working, open: row.open_now };
}
