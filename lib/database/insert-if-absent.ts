import type { Insertable, Kysely } from 'kysely';
import type { AnyKysely } from './dialect.ts';
import { dialectOf } from './dialects.ts';

/**
 * Inserts a row unless one with the same key is there already; of several callers at once exactly one gets `true`.
 * Portable in place of `on conflict do nothing` and `insert ignore`, which MariaDB lacks or widens to other errors.
 *
 * @param keyColumns the columns of one unique or primary key, all present in `row`.
 * @returns true when this call inserted the row, false when the key was taken (after waiting for an open transaction
 *   that holds it to end).
 * @throws the driver's error for anything else, also for a violation of another unique key.
 */
export async function insertIfAbsent<Schema, Table extends keyof Schema & string>(
  trx: Kysely<Schema>,
  table: Table,
  row: Insertable<Schema[Table]>,
  keyColumns: readonly (keyof Insertable<Schema[Table]> & string)[],
): Promise<boolean> {
  const db: AnyKysely = trx;
  return dialectOf(db).insertIfAbsent(db, table, row, keyColumns);
}
