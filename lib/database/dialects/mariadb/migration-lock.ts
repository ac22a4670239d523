import { sql } from 'kysely';
import type { DialectSupport } from '../../dialect.ts';

/** Named locks are the server's, not the database's. */
const lockName = sql`concat('pilotage-migrate-', left(sha2(database(), 256), 32))`;

/** A named lock on one connection; the server frees it when the connection ends, whatever the reason. */
export const withMigrationLock: DialectSupport['withMigrationLock'] = (db, patienceMilliseconds, work) =>
  db.connection().execute(async connection => {
    const seconds = Math.ceil(patienceMilliseconds / 1000);
    await sql`set session max_statement_time = 0`.execute(connection);
    const { rows } = await sql<{
      held: number | null;
    }>`select get_lock(${lockName}, ${sql.lit(seconds)}) as held`.execute(connection);
    if (rows[0]?.held !== 1) {
      throw Object.assign(new Error('the migration lock is held by another process'), {
        errno: 1205,
        sqlState: 'HY000',
      });
    }
    try {
      return await work(connection);
    } finally {
      await sql`do release_lock(${lockName})`.execute(connection);
      await sql`set session max_statement_time = default`.execute(connection);
    }
  });
