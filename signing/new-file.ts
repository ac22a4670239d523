import { randomBytes } from 'node:crypto';
import { link, open, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fromSystemError } from '../lib/errors.ts';
import { syncDirectory } from '../lib/files.ts';

/**
 * Creates a file whole or not at all and never replaces one: temporary name, fsync, hard link to the final name.
 *
 * @param mode permission bits, default 0644; 0600 for anything secret.
 * @returns false when the name is already taken; the file there is untouched.
 * @throws E_PERMISSION, E_DISK_FULL, E_FILE_MISSING naming the path.
 */
export async function createFileAtomic(
  path: string,
  data: string | Uint8Array,
  mode = 0o644,
): Promise<boolean> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    return await linkNew(temporary, path);
  } catch (error) {
    throw fromSystemError(error, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Gives an existing, synced file a second name; false when that name is taken. Throws the system's error otherwise. */
export async function linkNew(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  await syncDirectory(dirname(to));
  return true;
}
