import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError } from '../../../lib/errors.ts';
import { writeFileAtomic } from '../../../lib/files.ts';
import { signingError } from '../../../signing/errors.ts';

/** Where verified metadata is kept from one update to the next, by role. */
export interface MetadataStore {
  /** Undefined where there is none. */
  read(role: string): Promise<Uint8Array | undefined>;
  write(role: string, bytes: Uint8Array): Promise<void>;
  remove(role: string): Promise<void>;
}

const MAX_NAME_BYTES = 250;

/**
 * File name for a role, one for each and safe whatever the role is called: a delegator may name roles as it likes, and
 * none of them may lead out of the directory.
 *
 * @throws E_TUF_FORMAT for a name too long for a file.
 */
export function fileNameOf(role: string): string {
  const name = `${encodeURIComponent(role.toWellFormed())}.json`;
  if (name.length <= MAX_NAME_BYTES) return name;
  throw signingError({
    code: 'E_TUF_FORMAT',
    message: 'The name of the role is too long.',
    where: role.slice(0, 100),
    expected: `at most ${MAX_NAME_BYTES} bytes`,
    found: `${name.length} bytes`,
    fix: 'Have the role called by a shorter name.',
  });
}

/**
 * Keeps each role in a file of a directory that is there, every file whole or not at all. A file that another process
 * renewed since it was read here is left as that one has it: what it verified is as good, and may be newer.
 *
 * Errors of the file system are E_PERMISSION, E_DISK_FULL and kin, naming the file.
 */
export function metadataDirectory(directory: string): MetadataStore {
  const seen = new Map<string, Uint8Array | undefined>();
  const pathOf = (role: string) => join(directory, fileNameOf(role));
  const onDisk = async (path: string): Promise<Buffer | undefined> => {
    try {
      return await readFile(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw fromSystemError(error, path);
    }
  };
  const isAsSeen = async (role: string): Promise<boolean> => {
    const [now, then] = [await onDisk(pathOf(role)), seen.get(role)];
    return now === undefined || then === undefined ? now === then : now.equals(then);
  };
  return {
    read: async role => {
      const bytes = await onDisk(pathOf(role));
      seen.set(role, bytes);
      return bytes;
    },
    write: async (role, bytes) => {
      if (!(await isAsSeen(role))) return;
      await writeFileAtomic(pathOf(role), bytes, { mode: 0o600 });
      seen.set(role, bytes);
    },
    remove: async role => {
      if (!seen.has(role)) seen.set(role, await onDisk(pathOf(role)));
      if (await isAsSeen(role)) await rm(pathOf(role), { force: true });
    },
  };
}
