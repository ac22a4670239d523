import type { Executor, ServerTables } from '../schema.ts';

/** Moves the end of a stream on. */
export async function updateLogEnd(db: Executor, row: ServerTables['attempt_log_end']): Promise<void> {
  await db
    .updateTable('attempt_log_end')
    .set({ next_byte: row.next_byte, complete: row.complete })
    .where('attempt_id', '=', row.attempt_id)
    .where('stream', '=', row.stream)
    .execute();
}
