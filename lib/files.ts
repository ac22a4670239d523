import { open, rename, rm, stat, mkdir } from 'node:fs/promises';
import { readFile } from 'node:fs/promises';
import { dirname, basename, join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { fromSystemError, libError } from './errors.ts';

/**
 * Writes a file so that readers see the old bytes or the new, never a part: temporary name in the same directory, fsync,
 * rename, fsync of the directory.
 *
 * @param options.mode permission bits, default 0644; give 0600 for anything secret.
 * @throws E_PERMISSION, E_DISK_FULL, E_FILE_MISSING naming the path.
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  options: { mode?: number } = {},
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    const file = await open(temporary, 'wx', options.mode ?? 0o644);
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true });
    throw fromSystemError(error, path);
  }
}

/** Makes a rename or creation in `directory` durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Reads a whole file of at most `maxBytes`.
 *
 * @throws E_FILE_MISSING, E_PERMISSION, E_FILE_UNREADABLE (too large, a directory) naming the path.
 */
export async function readFileBounded(path: string, maxBytes = 1 << 20): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size > maxBytes) {
      throw libError({
        code: 'E_FILE_UNREADABLE',
        message: 'The file is larger than anything that belongs here.',
        where: path,
        expected: `at most ${maxBytes} bytes`,
        found: `${size} bytes`,
        fix: 'Check that this is the right file.',
      });
    }
    return await readFile(path);
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall ? fromSystemError(error, path) : error;
  }
}

/** Reads a text file of at most `maxBytes`; errors as {@link readFileBounded}. */
export const readTextBounded = async (path: string, maxBytes = 1 << 20): Promise<string> =>
  (await readFileBounded(path, maxBytes)).toString('utf8');

/** Makes a directory and its parents. @throws E_PERMISSION, E_FILE_MISSING naming the path. */
export async function ensureDirectory(path: string, mode = 0o755): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode });
  } catch (error) {
    throw fromSystemError(error, path);
  }
}
