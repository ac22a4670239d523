import { PilotageError, fromSystemError, libError } from '../../../lib/errors.ts';

/** SQLITE_FULL, disk_full, table or disk full of MariaDB. */
const FULL: readonly unknown[] = [13, '53100', 1114, 1021];
/** SQLITE_READONLY; insufficient privilege, read-only transaction of PostgreSQL; command and table denied, read-only of MariaDB. */
const DENIED: readonly unknown[] = [8, '42501', '25006', 1142, 1044, 1290];

/** Runs `work` on a database; what its driver says comes out in our words, naming the file. */
export async function storageFailure<T>(where: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof PilotageError) throw error;
    const { code, errcode, errno, syscall, message } = error as Error & {
      code?: unknown;
      errcode?: number;
      errno?: number;
      syscall?: string;
    };
    if (syscall !== undefined) throw fromSystemError(error, where);
    const numbers = [errcode === undefined ? undefined : errcode & 0xff, code, errno];
    const cause = error;
    if (numbers.some(number => FULL.includes(number))) {
      throw libError({
        code: 'E_DISK_FULL',
        message: 'The database has no room left.',
        where,
        fix: 'Free space where the database keeps its files.',
        cause,
      });
    }
    if (numbers.some(number => DENIED.includes(number))) {
      throw libError({
        code: 'E_PERMISSION',
        message: 'The database may not be written by this user.',
        where,
        fix: 'Grant the user what the tables release_file, release_chunk and release_lock need.',
        cause,
      });
    }
    throw libError({
      code: 'E_FILE_UNREADABLE',
      message: `The database refused: ${message.split('\n')[0]}.`,
      where,
      fix: 'See the message; check the database.',
      cause,
    });
  }
}
