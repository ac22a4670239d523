import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { TargetFile } from '@tufjs/models';
import { fromSystemError } from '../../lib/errors.ts';
import { ensureDirectory, readFileBounded } from '../../lib/files.ts';
import { signingError } from '../errors.ts';
import { createFileAtomic } from '../new-file.ts';
import { hashedTargetPath, type Layout } from './layout.ts';
import { sha256Of, targetFile } from './role-metadata.ts';

/** Where a target's bytes are in the repository. */
export const targetLocation = (files: Layout, target: TargetFile): string =>
  join(files.targetsDirectory, hashedTargetPath(target.path, target.hashes.sha256!));

/** Puts a small target in place under its hash name; the same bytes twice are one file. */
export async function writeTarget(files: Layout, path: string, bytes: Buffer): Promise<TargetFile> {
  const target = targetFile({ path, length: bytes.length, sha256: sha256Of(bytes) });
  const location = targetLocation(files, target);
  await ensureDirectory(dirname(location));
  await createFileAtomic(location, bytes);
  return target;
}

/** Reads a small target and checks it. @throws E_TARGET_LENGTH, E_TARGET_HASH, E_FILE_MISSING. */
export async function readTarget(files: Layout, target: TargetFile): Promise<Buffer> {
  const location = targetLocation(files, target);
  const bytes = await readFileBounded(location, 8 * 2 ** 20);
  checkTarget(location, target, bytes.length, sha256Of(bytes));
  return bytes;
}

/** Hash and length of a file of any size, read once. */
export async function hashFile(path: string): Promise<{ sha256: string; bytes: number }> {
  try {
    const hash = createHash('sha256');
    await pipeline(createReadStream(path), hash);
    return { sha256: hash.digest('hex'), bytes: (await stat(path)).size };
  } catch (error) {
    throw fromSystemError(error, path);
  }
}

/** Reads a target of any size and checks it. Errors as {@link readTarget}. */
export async function verifyTarget(files: Layout, target: TargetFile): Promise<void> {
  const location = targetLocation(files, target);
  const { sha256, bytes } = await hashFile(location);
  checkTarget(location, target, bytes, sha256);
}

/** @throws E_TARGET_LENGTH, E_TARGET_HASH. */
export function checkTarget(where: string, target: TargetFile, bytes: number, sha256: string): void {
  if (bytes !== target.length) {
    throw signingError({
      code: 'E_TARGET_LENGTH',
      message: `The target ${target.path} has another length than was signed.`,
      where,
      expected: `${target.length} bytes`,
      found: `${bytes} bytes`,
      fix: 'Fetch it again from another cache; in the repository, restore it from a mirror.',
    });
  }
  if (sha256 !== target.hashes.sha256) {
    throw signingError({
      code: 'E_TARGET_HASH',
      message: `The target ${target.path} has other bytes than were signed.`,
      where,
      expected: `sha256 ${target.hashes.sha256 ?? 'none'}`,
      found: `sha256 ${sha256}`,
      fix: 'Fetch it again from another cache; in the repository, restore it from a mirror.',
    });
  }
}
