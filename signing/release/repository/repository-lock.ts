import type { Clock } from '../../../lib/clock.ts';
import { signingError } from '../../errors.ts';
import type { Storage, StorageLock } from '../storage/storage.ts';

interface LockOptions {
  storage: Storage;
  clock: Clock;
  waitSeconds?: number | undefined;
}

/**
 * Holds the repository for one command while `run` works; a killed command leaves no lock behind.
 *
 * @param options.waitSeconds how long to wait for another command, default 30.
 * @throws E_REPOSITORY_LOCKED when it is still held then; E_REPOSITORY_UNREADABLE.
 */
export async function withRepositoryLock<T>(options: LockOptions, run: () => Promise<T>): Promise<T> {
  const lock = await acquire(options);
  try {
    return await run();
  } finally {
    await lock.release();
  }
}

async function acquire(options: LockOptions): Promise<StorageLock> {
  const deadline = options.clock.monotonic() + (options.waitSeconds ?? 30) * 1000;
  for (;;) {
    const lock = await lockNow(options.storage);
    if (lock) return lock;
    if (options.clock.monotonic() >= deadline) {
      throw signingError({
        code: 'E_REPOSITORY_LOCKED',
        message: 'Another release command is working on this repository.',
        where: options.storage.name,
        fix: 'Wait for it to end and run this again.',
      });
    }
    await options.clock.sleep(50);
  }
}

async function lockNow(storage: Storage): Promise<StorageLock | null> {
  try {
    return await storage.tryLock();
  } catch (cause) {
    throw signingError({
      code: 'E_REPOSITORY_UNREADABLE',
      message: `The lock of the repository cannot be taken: ${(cause as Error).message}`,
      where: storage.name,
      fix: 'Check the owner and mode of the repository.',
      cause,
    });
  }
}
