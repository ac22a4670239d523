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
 * @throws E_REPOSITORY_LOCKED when it is still held then; E_PERMISSION and what else the storage throws.
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
    const lock = await options.storage.tryLock();
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
