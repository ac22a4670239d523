import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import { lockInSession } from '../../lock-in-session.ts';
import type { DialectSupport } from '../../dialect.ts';
import { connect } from './connection.ts';

/** An advisory lock of one session; these are the database's own. */
export const tryLock: DialectSupport['tryLock'] = (options, name) => {
  const number = sql.lit(Number.parseInt(createHash('sha256').update(name).digest('hex').slice(0, 12), 16));
  return lockInSession(options, connect, {
    take: async session => {
      const { rows } = await sql<{ held: boolean }>`select pg_try_advisory_lock(${number}) as held`.execute(
        session,
      );
      return rows[0]?.held === true;
    },
    free: async session => {
      await sql`select pg_advisory_unlock(${number})`.execute(session);
    },
  });
};
