import type { Executor } from '../schema.ts';

/**
 * Renews a pilot's place under the cap, unless the place was taken from it.
 * @returns whether it still had it.
 */
export async function renewPilotLease(
  db: Executor,
  pilotId: string,
  incarnation: string,
  leaseUntilMs: number,
): Promise<boolean> {
  const result = await db
    .updateTable('pilot')
    .set({ lease_until_ms: leaseUntilMs })
    .where('pilot_id', '=', pilotId)
    .where('incarnation', '=', incarnation)
    .where('state', '=', 'working')
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}
