import { insertIfAbsent } from '../../lib/database/insert-if-absent.ts';
import type { Executor, QueueRow, ServerTables } from '../schema.ts';

/** Adds a queue that is new in the configuration. @returns false if another server did so first. */
export const insertQueue = (db: Executor, row: QueueRow): Promise<boolean> =>
  insertIfAbsent<ServerTables, 'queue'>(db, 'queue', row, ['name']);
