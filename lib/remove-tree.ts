import { randomBytes } from 'node:crypto';
import { chmod, lstat, readdir, rename, rm, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';

/** Far below PATH_MAX: what lies deeper is moved up before it is opened. */
const MAX_PATH_BYTES = 2048;

/**
 * Removes a file or a whole directory, whatever a stranger made in it: directories without permissions, names that are
 * not UTF-8, trees deeper than a path can name. Never follows a symbolic link; what is gone already is no error.
 *
 * @throws the system's error for what stands in the way all the same.
 */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 3, retryDelay: 100 });
  } catch {
    await removeHard(path);
  }
  if (await isThere(path)) await removeHard(path);
}

async function removeHard(root: string): Promise<void> {
  if (!(await isDirectory(Buffer.from(root)))) return rm(root, { force: true });
  const directories: Buffer[] = [Buffer.from(root)];
  for (let index = 0; index < directories.length; index += 1) {
    const directory = directories[index]!;
    await unlessGone(chmod(directory, 0o700));
    const entries = await unlessGone(readdir(directory, { withFileTypes: true, encoding: 'buffer' }));
    for (const entry of entries ?? []) {
      const path = Buffer.concat([directory, Buffer.from('/'), entry.name]);
      if (!entry.isDirectory()) await unlessGone(unlink(path));
      else if (path.length <= MAX_PATH_BYTES) directories.push(path);
      else directories.push(await moveUp(path, root));
    }
  }
  for (const directory of directories.toReversed()) await unlessGone(rmdir(directory));
}

async function moveUp(path: Buffer, root: string): Promise<Buffer> {
  const higher = Buffer.from(join(root, `.deep-${randomBytes(8).toString('hex')}`));
  await unlessGone(chmod(path, 0o700));
  await unlessGone(rename(path, higher));
  return higher;
}

/** Another removal, or the first try's own last steps, may be at work in the same tree. */
async function unlessGone<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

const isDirectory = async (path: Buffer): Promise<boolean> => (await lstat(path)).isDirectory();

const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );
