import { constants } from 'node:fs';
import { access, open } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError } from '../../../lib/errors.ts';
import { ensureDirectory } from '../../../lib/files.ts';
import { lockState, tryProcessLock } from '../../../lib/process-lock.ts';
import type { ProcessLock } from '../../../lib/process-lock.ts';
import { codecacheError } from '../../errors.ts';

/** The kernel's bound on the path of a Unix socket is 107 bytes. */
const MAX_SOCKET_PATH = 100;

const lockFile = (directory: string): string => join(directory, 'lock');

/**
 * Makes a cache's directory and takes it for this process, until that ends or releases it: two caches would remove each
 * other's objects.
 *
 * @throws E_DIRECTORY_IN_USE naming the process that has it; E_PERMISSION and the like.
 */
export async function takeCacheDirectory(directory: string): Promise<ProcessLock> {
  await ensureDirectory(directory);
  try {
    await access(directory, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw fromSystemError(error, directory);
  }
  const lock = tryProcessLock(lockFile(directory));
  if (lock !== null) return lock;
  const { pid } = lockState(lockFile(directory));
  throw codecacheError({
    code: 'E_DIRECTORY_IN_USE',
    message: 'A cache is already running on this directory.',
    where: directory,
    expected: 'a directory that no other cache uses',
    ...(pid !== null && { found: `process ${pid}` }),
    fix: 'Give each cache a directory of its own, or stop the one that runs.',
  });
}

/**
 * Path of the control socket of the cache that runs on a directory; by way of this process's descriptors where the path
 * itself would be too long. It is good until it is closed.
 *
 * @throws E_FILE_MISSING, E_PERMISSION naming the directory.
 */
export async function controlPath(directory: string): Promise<{ path: string } & AsyncDisposable> {
  const path = join(directory, 'control');
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH)
    return { path, [Symbol.asyncDispose]: () => Promise.resolve() };
  try {
    const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    return {
      path: `/proc/self/fd/${handle.fd}/control`,
      [Symbol.asyncDispose]: () => handle.close(),
    };
  } catch (error) {
    throw fromSystemError(error, directory);
  }
}
