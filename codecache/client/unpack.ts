import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, mkdir, readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { ReadEntry } from 'tar';
import { fromSystemError } from '../../lib/errors.ts';
import type { PilotageError } from '../../lib/errors.ts';
import { codecacheError } from '../errors.ts';

const SAFE_NAME = /^[A-Za-z0-9._+@-]+(\/[A-Za-z0-9._+@-]+)*$/;
const MAX_UNPACKED_BYTES = 2 ** 30;

/**
 * Unpacks a verified archive into `directory`, which is made. Only regular files that were signed, by their plain
 * relative names; anything else refuses the whole archive.
 *
 * @param files path -> sha256 as signed.
 * @throws E_ARCHIVE_UNSAFE naming archive and entry; E_DISK_FULL, E_PERMISSION.
 */
export async function unpack(options: {
  archive: string;
  directory: string;
  files: Record<string, string>;
  where: string;
}): Promise<void> {
  const { archive, directory, files, where } = options;
  let refusal: PilotageError | undefined;
  let bytes = 0;
  const seen = new Set<string>();
  const parents = new Set(Object.keys(files).flatMap(directoriesOf));
  const accept = (path: string, entry: ReadEntry): boolean => {
    if (refusal !== undefined) return false;
    const name = path.replace(/^\.\//, '').replace(/\/$/, '');
    if (entry.type === 'Directory') {
      if (name !== '' && name !== '.' && !parents.has(name))
        refusal = unsafe(where, path, 'no directory but those of signed files');
      return refusal === undefined;
    }
    bytes += entry.size;
    if (entry.type !== 'File' && entry.type !== 'OldFile')
      refusal = unsafe(where, `${path} (${entry.type})`, 'a regular file');
    else if (!isPlain(name)) refusal = unsafe(where, path, 'a plain relative name');
    else if (!Object.hasOwn(files, name) || seen.has(name))
      refusal = unsafe(where, path, 'each signed file once');
    else if (bytes > MAX_UNPACKED_BYTES)
      refusal = unsafe(where, `${bytes} bytes`, `at most ${MAX_UNPACKED_BYTES} bytes`);
    seen.add(name);
    return refusal === undefined;
  };
  // Loaded only where there is something to unpack: on most nodes another pilot has.
  const { extract } = await import('tar');
  await mkdir(directory, { mode: 0o700 });
  try {
    await extract({
      file: archive,
      cwd: directory,
      strict: true,
      preserveOwner: false,
      noMtime: true,
      maxDepth: 16,
      filter: (path, entry) => accept(path, entry as ReadEntry),
    });
  } catch (error) {
    if (refusal === undefined && isDisk(error)) throw fromSystemError(error, directory);
    throw refusal ?? unsafe(where, (error as Error).message, 'an archive that tar can read', error);
  }
  if (refusal !== undefined) throw refusal;
  const wrong = await firstDamaged(directory, files);
  if (wrong !== undefined) throw unsafe(where, `${wrong} has other bytes`, 'every file as signed');
}

/** Where the files go, not the archive. */
const isDisk = (error: unknown): boolean =>
  ['ENOSPC', 'EDQUOT', 'EFBIG', 'EACCES', 'EPERM', 'EROFS', 'EIO'].includes(
    (error as NodeJS.ErrnoException).code ?? '',
  );

/** `a/b/c` is in `a` and `a/b`. */
const directoriesOf = (name: string): string[] =>
  name.split('/').map((_, index, parts) => parts.slice(0, index).join('/'));

const isPlain = (name: string): boolean =>
  SAFE_NAME.test(name) && !name.split('/').some(part => part === '.' || part === '..');

/** The first signed file that is missing or has other bytes, or a file that was not signed; undefined when all is whole. */
export async function firstDamaged(
  directory: string,
  files: Record<string, string>,
): Promise<string | undefined> {
  for (const [name, sha256] of Object.entries(files)) {
    if ((await hashOf(join(directory, name))) !== sha256) return name;
  }
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const name = relative(directory, join(entry.parentPath, entry.name));
    if (!entry.isDirectory() && !Object.hasOwn(files, name)) return name;
  }
  return undefined;
}

async function hashOf(path: string): Promise<string> {
  try {
    if (!(await lstat(path)).isFile()) return 'not a file';
    const hash = createHash('sha256');
    await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
    return hash.digest('hex');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unreadable';
  }
}

const unsafe = (where: string, found: string, expected: string, cause?: unknown) =>
  codecacheError({
    code: 'E_ARCHIVE_UNSAFE',
    message: 'The archive does not hold what was signed; nothing of it is kept.',
    where,
    expected,
    found,
    fix: 'Tell the release managers: the signed description and the archive do not agree.',
    cause,
  });
