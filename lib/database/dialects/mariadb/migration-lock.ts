import { sql } from 'kysely';
import type { AnyKysely, DialectSupport } from '../../dialect.ts';

/** Named locks are the server's, not the database's. */
const lockName = sql`concat('pilotage-migrate-', left(sha2(database(), 256), 32))`;

/** A named lock on one connection; the server frees it when the connection ends, whatever the reason. */
export const withMigrationLock: DialectSupport['withMigrationLock'] = (db, patienceMilliseconds, work) =>
  db.connection().execute(async connection => {
    const seconds = Math.ceil(patienceMilliseconds / 1000);
    const statementSeconds = await statementBound(connection);
    await sql`set session max_statement_time = 0`.execute(connection);
    try {
      const lock = sql<{ held: number | null }>`select get_lock(${lockName}, ${sql.lit(seconds)}) as held`;
      const { rows } = await lock.execute(connection);
      if (rows[0]?.held !== 1) throw lockTimeout();
      try {
        return await work(connection);
      } finally {
        await sql`do release_lock(${lockName})`.execute(connection);
      }
    } finally {
      await sql`set session max_statement_time = ${sql.lit(statementSeconds)}`.execute(connection);
    }
  });

async function statementBound(connection: AnyKysely): Promise<number> {
  const { rows } = await sql<{ seconds: number }>`select @@max_statement_time as seconds`.execute(connection);
  return rows[0]!.seconds;
}

/** In the form of the driver's own lock timeout, so that it is classified as one. */
const lockTimeout = () =>
  Object.assign(new Error('another process holds the migration lock'), { errno: 1205, sqlState: 'HY000' });
