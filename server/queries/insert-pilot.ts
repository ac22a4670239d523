import type { Executor, PilotRow } from '../schema.ts';

/** Adds an enrolled pilot. */
export async function insertPilot(db: Executor, row: PilotRow): Promise<void> {
  await db.insertInto('pilot').values(row).execute();
}
