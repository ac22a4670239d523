import { Kysely } from 'kysely';
import type { Dialect } from 'kysely';
import type { AnyKysely, DatabaseLock, OpenOptions } from './dialect.ts';

/**
 * Holds a lock that belongs to a session, on a connection of its own: it falls when the process ends or the connection
 * breaks.
 *
 * @param lock.take asks for the lock without waiting; false when another session has it.
 */
export async function lockInSession(
  options: OpenOptions,
  connect: (options: OpenOptions) => Promise<Dialect>,
  lock: { take(session: AnyKysely): Promise<boolean>; free(session: AnyKysely): Promise<void> },
): Promise<DatabaseLock | null> {
  const pool: AnyKysely = new Kysely({ dialect: await connect({ ...options, maxConnections: 1 }) });
  const released = Promise.withResolvers<void>();
  const taken = Promise.withResolvers<boolean>();
  const session = pool.connection().execute(async connection => {
    const held = await lock.take(connection);
    taken.resolve(held);
    if (!held) return;
    await released.promise;
    await lock.free(connection);
  });
  session.catch(taken.reject);
  const release = async () => {
    released.resolve();
    // A connection that broke has freed the lock already.
    await session.catch(error => options.log.warn({ error: (error as Error).message }, 'lock was lost'));
    await pool.destroy();
  };
  try {
    if (await taken.promise) return { release };
  } catch (error) {
    await pool.destroy();
    throw error;
  }
  await release();
  return null;
}
