import type { Clock } from '../../../lib/clock.ts';
import { libError } from '../../../lib/errors.ts';
import type { Storage } from '../storage/storage.ts';
import type { PublicSource } from './public-source.ts';

export interface CopyOptions {
  from: PublicSource;
  to: Storage;
  /** Where the tree lies in `to`: `public` of a repository or mirror, nothing for a directory of a web server. */
  folder: 'public' | '';
  /** The pinned root; every root before and after it is copied too. */
  trustedRoot: Uint8Array;
  clock: Pick<Clock, 'now'>;
  /** Roles whose expiry is no reason to refuse the copy: clients judge them by themselves. */
  mayExpire: (role: string) => boolean;
  /**
   * What to do with lines of our log that the copied one does not know, from line `common + 1` on; they are cut off when it
   * returns. Default: refuse.
   */
  divergedLog?: (lines: Buffer, common: number) => Promise<void>;
  /** Whether what is missing or damaged here is brought back, too, when the source is no newer; its roots go before ours. */
  repairs?: boolean;
  /** Called before each durable step. */
  onStep?: ((step: string) => void) | undefined;
}

/** What a copy works on. */
export interface Copy extends CopyOptions {
  /** Path of a public file in `to`. */
  at: (path: string) => string;
  /** Files that were written, in that order. */
  written: string[];
}

/** Writes verified bytes under their name; what has the name and was damaged gives way. */
export async function writeCopied(copy: Copy, path: string, bytes: Buffer): Promise<void> {
  copy.onStep?.(`write ${path.replace('metadata/', '')}`);
  if (!(await copy.to.create(copy.at(path), bytes))) await copy.to.replace(copy.at(path), bytes);
  copy.written.push(path);
}

/** @throws E_FILE_MISSING. */
export async function need(from: PublicSource, path: string): Promise<Buffer> {
  const bytes = await from.read(path);
  if (!bytes) throw missing(from, path);
  return Buffer.from(bytes);
}

export const missing = (from: PublicSource, path: string) =>
  libError({
    code: 'E_FILE_MISSING',
    message: 'The source does not have a file that its metadata names.',
    where: `${from.name}/${path}`,
    fix: 'Check that this is a published store; ask another one.',
  });
