import { sql } from 'kysely';
import type { Executor } from '../schema.ts';

/** Lengthens every lease that lived when an outage began by the outage's length: it does not count against them. */
export async function extendLeases(db: Executor, fromMs: number, byMs: number): Promise<void> {
  await db
    .updateTable('attempt')
    .set({ lease_until_ms: sql<number>`lease_until_ms + ${sql.lit(byMs)}` })
    .where('ended_ms', 'is', null)
    .where('lease_until_ms', '>=', fromMs)
    .execute();
  await db
    .updateTable('pilot')
    .set({ lease_until_ms: sql<number>`lease_until_ms + ${sql.lit(byMs)}` })
    .where('state', '=', 'working')
    .where('lease_until_ms', '>=', fromMs)
    .execute();
  await db
    .updateTable('submission')
    .set({ valid_until_ms: sql<number>`valid_until_ms + ${sql.lit(byMs)}` })
    .where('state', '=', 'open')
    .where('valid_until_ms', '>=', fromMs)
    .execute();
}
