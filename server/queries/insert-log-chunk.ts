import type { Executor, ServerTables } from '../schema.ts';

/** Adds a piece of an attempt's output, base64. */
export async function insertLogChunk(db: Executor, row: ServerTables['attempt_log']): Promise<void> {
  await db.insertInto('attempt_log').values(row).execute();
}
