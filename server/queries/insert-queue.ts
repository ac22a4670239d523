import type { Executor, QueueRow } from '../schema.ts';

/** Adds a queue that is new in the configuration. */
export async function insertQueue(db: Executor, row: QueueRow): Promise<void> {
  await db.insertInto('queue').values(row).execute();
}
