import type { DatabaseSync } from 'node:sqlite';

/** Runs `body` as one transaction: all of it stands after it returns, or none of it when it throws. */
export function transaction<T>(db: DatabaseSync, body: () => T): T {
  db.exec('begin immediate');
  try {
    const result = body();
    db.exec('commit');
    return result;
  } catch (error) {
    if (db.isTransaction) db.exec('rollback');
    throw error;
  }
}
