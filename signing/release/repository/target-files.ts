import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import type { TargetFile } from '@tufjs/models';
import type { Readable } from 'node:stream';
import { fromSystemError, libError } from '../../../lib/errors.ts';
import { signingError } from '../../errors.ts';
import { targetPlace } from '../layout.ts';
import { sha256Of, targetFile } from '../metadata/role-metadata.ts';
import type { Storage } from '../storage/storage.ts';

/** Puts a small target in place under its hash name; the same bytes twice are one file. */
export async function writeTarget(storage: Storage, path: string, bytes: Buffer): Promise<TargetFile> {
  const target = targetFile({ path, length: bytes.length, sha256: sha256Of(bytes) });
  await storage.create(targetPlace(target), bytes);
  return target;
}

/** Reads a small target and checks it. @throws E_TARGET_LENGTH, E_TARGET_HASH, E_FILE_MISSING. */
export async function readTarget(storage: Storage, target: TargetFile): Promise<Buffer> {
  const place = targetPlace(target);
  const bytes = await storage.read(place, 8 * 2 ** 20);
  if (!bytes) throw missingTarget(storage.where(place));
  checkTarget(storage.where(place), target, bytes.length, sha256Of(bytes));
  return bytes;
}

/** Hash and length of a local file of any size, read once. */
export async function hashFile(path: string): Promise<{ sha256: string; bytes: number }> {
  try {
    return await hashStream(createReadStream(path));
  } catch (error) {
    throw fromSystemError(error, path);
  }
}

/** Reads a target of any size and checks it. Errors as {@link readTarget}. */
export async function verifyTarget(storage: Storage, target: TargetFile): Promise<void> {
  const place = targetPlace(target);
  const file = await storage.open(place);
  if (!file) throw missingTarget(storage.where(place));
  try {
    const { sha256, bytes } = await hashStream(file.stream());
    checkTarget(storage.where(place), target, bytes, sha256);
  } finally {
    await file.close();
  }
}

/** Hash and length of what a stream gives. */
export async function hashStream(stream: Readable): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  stream.on('data', (chunk: Buffer) => (bytes += chunk.length));
  await pipeline(stream, hash);
  return { sha256: hash.digest('hex'), bytes };
}

const missingTarget = (where: string) =>
  libError({
    code: 'E_FILE_MISSING',
    message: 'A target that was signed is not there.',
    where,
    fix: 'Restore it from a mirror or backup: pilotage release recover --from URL.',
  });

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
