import { tryProcessLock } from '../../../process-lock.ts';
import type { DialectSupport } from '../../dialect.ts';

/** The kernel's lock on a file beside the database: its own write lock would keep every other writer out as well. */
export const tryLock: DialectSupport['tryLock'] = async ({ url }, name) => {
  if (url.dialect !== 'sqlite') throw new Error(`not a SQLite address: ${url.label}`);
  const lock = tryProcessLock(`${url.path}.${name}-lock`, 0);
  return lock && { release: async () => lock.release() };
};
