import type { Readable } from 'node:stream';
import { libError } from '../../../lib/errors.ts';

/** A file of any size, as it was when it was opened. */
export interface StoredFile {
  size: number;
  modifiedMs: number;
  /** Differs whenever the bytes do, for one path; letters, digits and hyphens. */
  tag: string;
  /** Bytes from `start` to `end`, both included; without them the whole file. Errors name the file. */
  stream(start?: number, end?: number): Readable;
  close(): Promise<void>;
}

/**
 * Where a release repository keeps its files. Paths are relative, with slashes: `public/metadata/1.root.json`. Every write
 * is durable when it returns, and a reader sees a file whole or not at all, whatever is killed when.
 *
 * Errors of all calls: E_PERMISSION, E_DISK_FULL, E_FILE_UNREADABLE, or the database's own; each naming the file.
 */
export interface Storage {
  /** Directory or database address (without a password), for messages. */
  readonly name: string;
  /** What to call a file in messages. */
  where(path: string): string;
  /** The whole file; null when there is none. @throws E_FILE_UNREADABLE when it is larger than `maxBytes`. */
  read(path: string, maxBytes: number): Promise<Buffer | null>;
  open(path: string): Promise<StoredFile | null>;
  /** Creates a file and never replaces one: false when the name is taken. */
  create(path: string, bytes: Uint8Array): Promise<boolean>;
  /** As {@link Storage.create} with the bytes of a local file of any size. */
  createFrom(path: string, localFile: string): Promise<boolean>;
  /** Writes a file in one step over what was there. */
  replace(path: string, bytes: Uint8Array): Promise<void>;
  /** Cuts a file to `offset` bytes and appends; the file is made where there is none. */
  append(path: string, offset: number, bytes: Uint8Array): Promise<void>;
  /** Does nothing when there is no such file. */
  remove(path: string): Promise<void>;
  /** Names of the files directly in a directory, sorted; empty when there is none. */
  list(directory: string): Promise<string[]>;
  /** Every file below a directory, as paths, sorted. */
  listAll(directory: string): Promise<string[]>;
  /** A local directory for work in progress, made when missing; a file tree can link from there. */
  workDirectory(): Promise<string>;
  /** The one lock of the repository; null when somebody has it. It falls with the process. */
  tryLock(): Promise<StorageLock | null>;
  /** Frees a lock that is still held, too. */
  close(): Promise<void>;
}

export interface StorageLock {
  release(): Promise<void>;
}

/** Refuses a path that could leave the repository; paths are made of checked names, so this is the second fence. */
export function checkPath(path: string): string {
  const parts = path.split('/');
  if (path.length <= 700 && parts.every(part => part !== '' && !part.startsWith('.'))) return path;
  throw libError({
    code: 'E_FILE_UNREADABLE',
    message: 'This is not a path inside a repository.',
    where: path.slice(0, 200),
    expected: 'a relative path of at most 700 characters; no part is empty or starts with a dot',
    fix: 'Report this: names are checked before they get here.',
  });
}
