import type { Executor } from '../schema.ts';

/** Ends a working pilot at its own wish. @returns whether it was working. */
export async function leavePilotRow(
  db: Executor,
  pilotId: string,
  atMs: number,
  reason: string,
): Promise<boolean> {
  const result = await db
    .updateTable('pilot')
    .set({ state: 'left', ended_ms: atMs, end_reason: reason })
    .where('pilot_id', '=', pilotId)
    .where('state', '=', 'working')
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}
