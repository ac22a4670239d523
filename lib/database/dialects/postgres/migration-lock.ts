import { sql } from 'kysely';
import type { DialectSupport } from '../../dialect.ts';

/** Number of the advisory lock; any fixed one, the same in every release. */
const LOCK = 7_150_512_026;

const SCHEMA_LOCK_MILLISECONDS = 5000;

/** One transaction around all migrations, serialised by an advisory lock that ends with it. */
export const withMigrationLock: DialectSupport['withMigrationLock'] = (db, patienceMilliseconds, work) =>
  db
    .transaction()
    .setIsolationLevel('read committed')
    .execute(async trx => {
      await sql`set local statement_timeout = 0`.execute(trx);
      await sql`set local lock_timeout = ${sql.lit(Math.ceil(patienceMilliseconds))}`.execute(trx);
      await sql`select pg_advisory_xact_lock(${sql.lit(LOCK)})`.execute(trx);
      // A schema change waits in front of everyone else's statements: shortly, and then the whole is tried again.
      await sql`set local lock_timeout = ${sql.lit(SCHEMA_LOCK_MILLISECONDS)}`.execute(trx);
      return work(trx);
    });
