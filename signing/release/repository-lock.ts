import type { Clock } from '../../lib/clock.ts';
import { tryProcessLock } from '../../lib/process-lock.ts';
import type { ProcessLock } from '../../lib/process-lock.ts';
import { signingError } from '../errors.ts';

/**
 * Holds the repository for one command while `run` works; a killed command leaves no lock behind.
 *
 * @param options.waitSeconds how long to wait for another command, default 30.
 * @throws E_REPOSITORY_LOCKED when it is still held then; E_REPOSITORY_UNREADABLE.
 */
export async function withRepositoryLock<T>(
  options: { file: string; clock: Clock; waitSeconds?: number | undefined },
  run: () => Promise<T>,
): Promise<T> {
  const lock = await acquire(options);
  try {
    return await run();
  } finally {
    lock.release();
  }
}

async function acquire(options: {
  file: string;
  clock: Clock;
  waitSeconds?: number | undefined;
}): Promise<ProcessLock> {
  const deadline = options.clock.monotonic() + (options.waitSeconds ?? 30) * 1000;
  for (;;) {
    const lock = lockNow(options.file);
    if (lock) return lock;
    if (options.clock.monotonic() >= deadline) {
      throw signingError({
        code: 'E_REPOSITORY_LOCKED',
        message: 'Another release command is working on this repository.',
        where: options.file,
        fix: 'Wait for it to end and run this again.',
      });
    }
    await options.clock.sleep(50);
  }
}

function lockNow(file: string): ProcessLock | null {
  try {
    return tryProcessLock(file, 0);
  } catch (cause) {
    throw signingError({
      code: 'E_REPOSITORY_UNREADABLE',
      message: `The lock of the repository cannot be taken: ${(cause as Error).message}`,
      where: file,
      fix: 'Check the owner and mode of the repository directory.',
      cause,
    });
  }
}
