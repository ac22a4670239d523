import { lstat, rename, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError } from '../../lib/errors.ts';
import { ensureDirectory } from '../../lib/files.ts';
import { codecacheError } from '../errors.ts';
import { pinOf } from '../pin.ts';

/** The store of one user on one node: public, verified code only. Shared by the wrapper and this client. */
export interface NodeStore {
  directory: string;
  /** Trusted metadata under the pinned root. */
  metadataDirectory: string;
  objectsDirectory: string;
  unpackedDirectory: string;
}

/**
 * Opens or makes the store: mode 0700, owned by us, no link.
 *
 * @throws E_STORE_UNSAFE, E_PERMISSION naming the directory.
 */
export async function openNodeStore(directory: string, trustedRoot: Uint8Array | string): Promise<NodeStore> {
  const store: NodeStore = {
    directory,
    metadataDirectory: join(directory, 'metadata', pinOf(trustedRoot)),
    objectsDirectory: join(directory, 'objects'),
    unpackedDirectory: join(directory, 'unpacked'),
  };
  await ensureDirectory(directory, 0o700);
  await checkStoreDirectory(directory);
  for (const path of [store.metadataDirectory, store.objectsDirectory, store.unpackedDirectory]) {
    await ensureDirectory(path, 0o700);
  }
  return store;
}

/** Holds the store to be a directory of ours that nobody else can write. @throws E_STORE_UNSAFE, E_FILE_MISSING. */
export async function checkStoreDirectory(directory: string): Promise<void> {
  const info = await lstat(directory).catch((error: unknown) => {
    throw fromSystemError(error, directory);
  });
  if (!info.isDirectory() || info.uid !== process.getuid?.() || (info.mode & 0o077) !== 0) {
    throw codecacheError({
      code: 'E_STORE_UNSAFE',
      message: 'The node-local store is open to others.',
      where: directory,
      expected: 'a directory of this user with mode 0700',
      found: `mode ${(info.mode & 0o777).toString(8)}, owner ${info.uid}${info.isDirectory() ? '' : ', not a directory'}`,
      fix: 'Remove it, or name another directory.',
    });
  }
}

/** Removes a half-made directory, or puts a whole one in its place. */
export async function placeDirectory(from: string, to: string): Promise<void> {
  try {
    await rm(to, { recursive: true, force: true });
    await rename(from, to);
  } catch (error) {
    throw fromSystemError(error, to);
  }
}

/** Marks what is used now, for whoever makes room in the store: by the directory's own time, as the wrapper does. */
export async function noteUse(directory: string): Promise<void> {
  const now = new Date();
  // Another process may be putting a whole copy in place of it at this moment: that one is new enough.
  await utimes(directory, now, now).catch(() => undefined);
}
