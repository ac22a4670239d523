import { randomBytes } from 'node:crypto';
import { copyFile, open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError } from '../../../lib/errors.ts';
import { invalidTarball, type TarballLimits } from './inspect-tarball.ts';
import type { Storage } from '../storage/storage.ts';
import { hashFile } from '../repository/target-files.ts';

export interface Incoming {
  file: string;
  sha256: string;
  bytes: number;
}

/**
 * Copies a tarball into the repository's work directory first, so that the bytes that are inspected are the bytes that are
 * signed; the copy is gone when `run` has ended.
 *
 * @throws E_TARBALL_INVALID, E_FILE_MISSING, E_PERMISSION, E_DISK_FULL.
 */
export async function withIncoming<T>(
  storage: Storage,
  tarball: string,
  limits: TarballLimits,
  run: (incoming: Incoming) => Promise<T>,
): Promise<T> {
  const file = join(await storage.workDirectory(), `${randomBytes(8).toString('hex')}.tar.gz`);
  try {
    await copyBounded(tarball, file, limits);
    const hashed = await hashFile(file);
    return await run({ file, ...hashed });
  } finally {
    await rm(file, { force: true });
  }
}

async function copyBounded(from: string, to: string, limits: TarballLimits): Promise<void> {
  try {
    const info = await stat(from);
    if (!info.isFile()) throw invalidTarball(from, 'It is not a regular file.');
    if (info.size > limits.maxBytes) {
      throw invalidTarball(from, 'The tarball is too large.', {
        expected: `at most ${limits.maxBytes} bytes`,
        found: `${info.size} bytes`,
      });
    }
    await copyFile(from, to);
    const handle = await open(to, 'r+');
    try {
      await handle.chmod(0o644);
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall ? fromSystemError(error, from) : error;
  }
}
