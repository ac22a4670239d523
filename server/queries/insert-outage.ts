import type { Executor, ServerTables } from '../schema.ts';

/** Records a time in which no server of this instance was alive. */
export async function insertOutage(db: Executor, row: ServerTables['service_outage']): Promise<void> {
  await db.insertInto('service_outage').values(row).execute();
}
