import { constants, copyFile, open, readdir, rm, stat } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { basename, dirname, join, relative } from 'node:path';
import type { Readable } from 'node:stream';
import { fromSystemError, libError } from '../../../lib/errors.ts';
import { ensureDirectory, readFileBounded, writeFileAtomic } from '../../../lib/files.ts';
import { tryProcessLock, type ProcessLock } from '../../../lib/process-lock.ts';
import { createFileAtomic, linkNew } from '../../new-file.ts';
import { checkPath, type Storage, type StoredFile } from './storage.ts';

/** Directories that only the release managers may look into. */
const PRIVATE = /^(staged|pending|incoming)(\/|$)/;

/**
 * A repository as a tree of files; `public/` can be served by any web server.
 *
 * @param directory made by the first write.
 */
export function fileStorage(directory: string): Storage {
  const at = (path: string) => join(directory, checkPath(path));
  let lock: ProcessLock | undefined;
  const makeRoom = async (path: string) => {
    await ensureDirectory(directory);
    const parent = dirname(path);
    await ensureDirectory(join(directory, parent), PRIVATE.test(parent) ? 0o700 : 0o755);
  };
  return {
    name: directory,
    where: at,
    async read(path, maxBytes) {
      try {
        return await readFileBounded(at(path), maxBytes);
      } catch (error) {
        if ((error as { code?: string }).code === 'E_FILE_MISSING') return null;
        throw error;
      }
    },
    open: path => openFile(at(path)),
    async create(path, bytes) {
      await makeRoom(path);
      return createFileAtomic(at(path), bytes);
    },
    async createFrom(path, localFile) {
      await makeRoom(path);
      return linkOrCopy(localFile, at(path));
    },
    async replace(path, bytes) {
      await makeRoom(path);
      await writeFileAtomic(at(path), bytes);
    },
    async append(path, offset, bytes) {
      await makeRoom(path);
      await appendAt(at(path), offset, bytes);
    },
    async remove(path) {
      try {
        await rm(at(path), { force: true });
      } catch (error) {
        throw fromSystemError(error, at(path));
      }
    },
    list: path => namesIn(at(path), false),
    listAll: async path => (await namesIn(at(path), true)).map(name => `${path}/${name}`),
    async workDirectory() {
      await makeRoom('incoming/file');
      return at('incoming');
    },
    async tryLock() {
      await ensureDirectory(directory);
      await refuseRoot(directory);
      const taken = tryProcessLock(at('lock.sqlite'), 0);
      if (!taken) return null;
      const release = async () => {
        if (lock === taken) lock = undefined;
        taken.release();
      };
      lock = taken;
      return { release };
    },
    close: async () => lock?.release(),
  };
}

/** Nothing stops root from leaving files here that the owner, such as the refresh daemon, could not read or replace. */
async function refuseRoot(directory: string): Promise<void> {
  const { uid } = await stat(directory);
  if (process.geteuid?.() !== 0 || uid === 0) return;
  throw libError({
    code: 'E_PERMISSION',
    message: 'This repository belongs to another user, who could not use what root leaves in it.',
    where: directory,
    expected: `user ${uid}`,
    found: 'root',
    fix: `Run this as that user: sudo -u '#${uid}' …; or keep the repository in a database.`,
  });
}

/** No regular file has this name; strangers ask a store for all of these. */
const NO_FILE = ['ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR', 'ENXIO', 'ENAMETOOLONG'];

/** A regular file; no symbolic link is followed, and no pipe under this name holds the call. */
async function openFile(path: string): Promise<StoredFile | null> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const info = await file.stat();
    if (!info.isFile()) {
      await file.close();
      return null;
    }
    const { size, mtimeMs, ino } = info;
    return {
      size,
      modifiedMs: Math.floor(mtimeMs),
      tag: `${ino.toString(16)}-${size.toString(16)}-${Math.floor(mtimeMs * 1000).toString(16)}`,
      stream: (start, end): Readable =>
        file.createReadStream({
          autoClose: false,
          highWaterMark: 1 << 18,
          start: start ?? 0,
          ...(end !== undefined && { end }),
        }),
      close: () => file.close(),
    };
  } catch (error) {
    if (NO_FILE.includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw fromSystemError(error, path);
  }
}

/** A hard link where the file system allows, else a copy that gets its name when it is whole. */
async function linkOrCopy(from: string, to: string): Promise<boolean> {
  try {
    return await linkNew(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw fromSystemError(error, to);
  }
  const temporary = join(dirname(to), `.${basename(to)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    await copyFile(from, temporary);
    const file = await open(temporary, 'r+');
    try {
      await file.chmod(0o644);
      await file.sync();
    } finally {
      await file.close();
    }
    return await linkNew(temporary, to);
  } catch (error) {
    throw fromSystemError(error, to);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function appendAt(path: string, offset: number, bytes: Uint8Array): Promise<void> {
  try {
    const file = await open(path, 'a', 0o644);
    try {
      const { size } = await file.stat();
      if (size < offset) throw tooShort(path, offset, size);
      await file.truncate(offset);
      await file.appendFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall ? fromSystemError(error, path) : error;
  }
}

const tooShort = (where: string, expected: number, found: number) =>
  libError({
    code: 'E_FILE_UNREADABLE',
    message: 'The file became shorter while it was worked on.',
    where,
    expected: `at least ${expected} bytes`,
    found: `${found} bytes`,
    fix: 'Find out what else writes here, and restore the file from a mirror or backup.',
  });

async function namesIn(directory: string, recursive: boolean): Promise<string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true, recursive });
    return entries
      .filter(entry => entry.isFile() && !entry.name.startsWith('.'))
      .map(entry => relative(directory, join(entry.parentPath, entry.name)))
      .sort();
  } catch (error) {
    const known = fromSystemError(error, directory);
    if (known.code === 'E_FILE_MISSING') return [];
    throw known;
  }
}
