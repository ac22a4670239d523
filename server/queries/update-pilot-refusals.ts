import type { Executor } from '../schema.ts';

/** Keeps why a pilot's last call for work found none. */
export async function updatePilotRefusals(db: Executor, pilotId: string, refusals: unknown): Promise<void> {
  await db
    .updateTable('pilot')
    .set({ refusals_json: JSON.stringify(refusals) })
    .where('pilot_id', '=', pilotId)
    .execute();
}
