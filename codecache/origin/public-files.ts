import { constants, open, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { fromSystemError, libError } from '../../lib/errors.ts';
import { MAX_METADATA_BYTES } from '../../signing/release/metadata/role-metadata.ts';
import { places } from '../../signing/release/layout.ts';
import type { Storage } from '../../signing/release/storage/storage.ts';

/** A public file while it is served: as it was when it was opened. */
export interface PublicFile {
  size: number;
  /** Changes when the file does; left out where only its bytes can tell. */
  tag?: string;
  /** The whole of it; for small files. */
  bytes(): Promise<Buffer>;
  /** Bytes from `start` to `end`, both included. */
  stream(start: number, end: number): Readable;
  close(): Promise<void>;
}

/** The public part of a release repository, wherever that is kept; paths as clients name them. */
export interface PublicFiles {
  /** For messages. */
  name: string;
  /** Undefined where there is no such regular file. */
  open(path: string): Promise<PublicFile | undefined>;
  close(): Promise<void>;
}

/** A directory with metadata/ and targets/, or the address of a repository (a directory, a database). */
export type StoreSource = { directory: string } | { repository: string };

/**
 * Opens what a store serves.
 *
 * @throws E_FILE_MISSING when there is no published repository; the database's own errors.
 */
export async function openPublicFiles(source: StoreSource): Promise<PublicFiles> {
  if ('directory' in source) return publicDirectory(source.directory);
  // Loaded here: a store on files does without the databases, and a small heap is collected in less time.
  const { openStorage } = await import('../../signing/release/storage/open-storage.ts');
  const storage = await openStorage(source.repository, 'read');
  try {
    const timestamp = await storage.read(`${places.metadata}/timestamp.json`, MAX_METADATA_BYTES);
    if (timestamp === null) throw unpublished(storage.name);
  } catch (error) {
    await storage.close();
    throw error;
  }
  return publicPart(storage);
}

/** The public part of a repository that is open. */
export const publicPart = (storage: Storage): PublicFiles => ({
  name: storage.name,
  async open(path) {
    const file = await storage.open(`${places.public}/${path}`);
    if (file === null) return undefined;
    return {
      size: file.size,
      stream: (start, end) => file.stream(start, end),
      bytes: async () => Buffer.concat(await file.stream().toArray()),
      close: () => file.close(),
    };
  },
  close: () => storage.close(),
});

/** A tree of files, read without a way out of it: no symbolic link is followed, nothing but a regular file is opened. */
async function publicDirectory(directory: string): Promise<PublicFiles> {
  try {
    if (!(await stat(join(directory, 'metadata'))).isDirectory()) throw unpublished(directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw unpublished(directory);
    throw (error as NodeJS.ErrnoException).syscall ? fromSystemError(error, directory) : error;
  }
  return { name: directory, open: path => openRegular(join(directory, path)), close: async () => undefined };
}

/** No regular file has this name. */
const NO_FILE = ['ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR', 'ENXIO', 'ENAMETOOLONG'];

async function openRegular(path: string): Promise<PublicFile | undefined> {
  let file: FileHandle;
  try {
    // Without O_NONBLOCK, a pipe under this name would hold the call for ever.
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (NO_FILE.includes(code ?? '')) return undefined;
    throw fromSystemError(error, path);
  }
  try {
    const info = await file.stat();
    if (info.isFile()) {
      return {
        size: info.size,
        tag: `${info.ino.toString(16)}-${info.size.toString(16)}-${info.mtimeMs}`,
        bytes: () => file.readFile(),
        stream: (start, end) =>
          file.createReadStream({ start, end, autoClose: false, highWaterMark: 1 << 18 }),
        close: () => file.close(),
      };
    }
    await file.close();
    return undefined;
  } catch (error) {
    await file.close();
    throw error;
  }
}

const unpublished = (where: string) =>
  libError({
    code: 'E_FILE_MISSING',
    message: 'There is no published repository here.',
    where,
    expected: 'a directory with metadata/ and targets/, such as R/public of a release repository',
    fix: 'Run "pilotage release init" and "pilotage release publish", and name its public/ directory.',
  });
