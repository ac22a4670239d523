import type { Executor } from '../schema.ts';

/** Takes its place from a pilot that was not heard of in time; its row decides between this and a renewal. */
export async function losePilot(db: Executor, pilotId: string, atMs: number): Promise<boolean> {
  const result = await db
    .updateTable('pilot')
    .set({ state: 'lost', ended_ms: atMs, end_reason: 'not heard of until its lease ran out' })
    .where('pilot_id', '=', pilotId)
    .where('state', '=', 'working')
    .where('lease_until_ms', '<', atMs)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}
