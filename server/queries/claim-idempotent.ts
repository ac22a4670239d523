import { insertIfAbsent } from '../../lib/database/insert-if-absent.ts';
import type { Executor, ServerTables } from '../schema.ts';

/** Takes an idempotency key for this transaction. @returns false if another request has it already. */
export const claimIdempotent = (db: Executor, row: ServerTables['idempotency']): Promise<boolean> =>
  insertIfAbsent<ServerTables, 'idempotency'>(db, 'idempotency', row, ['key_sha256']);
