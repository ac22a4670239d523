import type { Executor, ServerTables } from '../schema.ts';

/** Queues a command for an attempt. */
export async function insertCommand(db: Executor, row: ServerTables['command']): Promise<void> {
  await db.insertInto('command').values(row).execute();
}
