import { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../lib/clock.ts';
import { signingError } from '../errors.ts';

/**
 * Holds the repository for one command while `run` works. The lock is the kernel's (an exclusive SQLite transaction on
 * an empty file), so a killed command leaves none behind.
 *
 * @param options.waitSeconds how long to wait for another command, default 30.
 * @throws E_REPOSITORY_LOCKED when it is still held then.
 */
export async function withRepositoryLock<T>(
  options: { file: string; clock: Clock; waitSeconds?: number | undefined },
  run: () => Promise<T>,
): Promise<T> {
  const database = await acquire(options);
  try {
    return await run();
  } finally {
    database.close();
  }
}

async function acquire(options: {
  file: string;
  clock: Clock;
  waitSeconds?: number | undefined;
}): Promise<DatabaseSync> {
  const deadline = options.clock.monotonic() + (options.waitSeconds ?? 30) * 1000;
  for (;;) {
    const database = new DatabaseSync(options.file, { timeout: 0 });
    try {
      database.exec('BEGIN EXCLUSIVE');
      return database;
    } catch (error) {
      database.close();
      const busy = (error as { errcode?: number }).errcode === 5;
      if (busy && options.clock.monotonic() < deadline) {
        await options.clock.sleep(50);
        continue;
      }
      throw signingError({
        code: busy ? 'E_REPOSITORY_LOCKED' : 'E_REPOSITORY_UNREADABLE',
        message: busy
          ? 'Another release command is working on this repository.'
          : `The lock of the repository cannot be taken: ${(error as Error).message}.`,
        where: options.file,
        fix: busy
          ? 'Wait for it to end and run this again.'
          : 'Check the owner and mode of the repository directory.',
        cause: error,
      });
    }
  }
}
