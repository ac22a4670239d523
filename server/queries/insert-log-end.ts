import type { Executor, ServerTables } from '../schema.ts';

/** Starts a stream of an attempt's output. */
export async function insertLogEnd(db: Executor, row: ServerTables['attempt_log_end']): Promise<void> {
  await db.insertInto('attempt_log_end').values(row).execute();
}
