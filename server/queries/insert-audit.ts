import type { Executor, ServerTables } from '../schema.ts';

/** Adds a line to the audit. */
export async function insertAudit(db: Executor, row: ServerTables['audit']): Promise<void> {
  await db.insertInto('audit').values(row).execute();
}
