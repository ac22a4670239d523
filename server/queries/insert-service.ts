import { insertIfAbsent } from '../../lib/database/insert-if-absent.ts';
import type { Executor, ServerTables } from '../schema.ts';

/** Makes the one row about this database, unless there is one. */
export async function insertService(db: Executor, row: ServerTables['service']): Promise<void> {
  await insertIfAbsent<ServerTables, 'service'>(db, 'service', row, ['id']);
}
