import { sql } from 'kysely';
import { lockInSession } from '../../lock-in-session.ts';
import type { DialectSupport } from '../../dialect.ts';
import { connect } from './connection.ts';

/** A named lock of one session; these are the server's, so the name tells of the database. */
export const tryLock: DialectSupport['tryLock'] = (options, name) => {
  const lockName = sql`concat('pilotage-lock-', left(sha2(concat(database(), ' ', ${name}), 256), 32))`;
  return lockInSession(options, connect, {
    take: async session => {
      const lock = sql<{ held: number | null }>`select get_lock(${lockName}, 0) as held`;
      return (await lock.execute(session)).rows[0]?.held === 1;
    },
    free: async session => {
      await sql`do release_lock(${lockName})`.execute(session);
    },
  });
};
