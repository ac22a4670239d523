import type { DialectSupport } from '../../dialect.ts';

/** BEGIN IMMEDIATE is the lock: one writer at a time, and the schema is part of the transaction. */
export const withMigrationLock: DialectSupport['withMigrationLock'] = (db, _patienceMilliseconds, work) =>
  db.transaction().execute(work);
