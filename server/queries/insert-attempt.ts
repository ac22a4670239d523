import type { AttemptRow, Executor } from '../schema.ts';

/** Adds an attempt. */
export async function insertAttempt(db: Executor, row: AttemptRow): Promise<void> {
  await db.insertInto('attempt').values(row).execute();
}
