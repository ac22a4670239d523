import type { Executor } from '../schema.ts';

/** Keeps what the signed store said; only in a transaction that has locked the row. */
export async function writeReleaseState(db: Executor, stateJson: string): Promise<void> {
  await db.updateTable('release_state').set({ state_json: stateJson }).where('id', '=', 1).execute();
}
