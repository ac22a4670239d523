import { createHash, randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { TargetFile } from '@tufjs/models';
import { fromSystemError } from '../../../lib/errors.ts';
import { hashedTargetPath } from '../layout.ts';
import { checkTarget, hashStream } from '../repository/target-files.ts';
import type { TrustedMetadata } from '../metadata/trusted-metadata.ts';
import { missing, type Copy } from './copy.ts';

/**
 * Brings every target of every role here that is not here yet; bounded and hashed while it streams, named when it is right.
 *
 * @param deep whether the bytes of those that are here are hashed too, not only measured.
 * @throws E_TARGET_HASH, E_TARGET_LENGTH, E_FILE_MISSING, E_UNREACHABLE, E_DISK_FULL.
 */
export async function copyTargets(copy: Copy, trusted: TrustedMetadata, deep: boolean): Promise<void> {
  for (const { signed } of trusted.roles().values()) {
    if (!('targets' in signed)) continue;
    for (const target of Object.values(signed.targets)) {
      const path = `targets/${hashedTargetPath(target.path, target.hashes.sha256 ?? '')}`;
      if (await isHere(copy, path, target, deep)) continue;
      copy.onStep?.(`fetch ${target.path}`);
      await fetchTarget(copy, path, target);
      copy.written.push(path);
    }
  }
}

async function isHere(copy: Copy, path: string, target: TargetFile, deep: boolean): Promise<boolean> {
  const file = await copy.to.open(copy.at(path));
  if (!file) return false;
  try {
    if (file.size !== target.length) return false;
    return !deep || (await hashStream(file.stream())).sha256 === target.hashes.sha256;
  } finally {
    await file.close();
  }
}

async function fetchTarget(copy: Copy, path: string, target: TargetFile): Promise<void> {
  const where = `${copy.from.name}/${path}`;
  const bytes = await copy.from.open(path);
  if (!bytes) throw missing(copy.from, path);
  const local = join(await copy.to.workDirectory(), `${randomBytes(8).toString('hex')}.target`);
  try {
    const file = await open(local, 'wx', 0o600);
    try {
      const hash = createHash('sha256');
      let length = 0;
      for await (const part of bytes) {
        length += part.length;
        if (length > target.length) break;
        hash.update(part);
        await file.write(part);
      }
      checkTarget(where, target, length, hash.digest('hex'));
      await file.chmod(0o644);
      await file.sync();
    } finally {
      await file.close();
    }
    const place = copy.at(path);
    if (await copy.to.createFrom(place, local)) return;
    // What has this name is damaged, or it would have been found here.
    await copy.to.remove(place);
    await copy.to.createFrom(place, local);
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall ? fromSystemError(error, local) : error;
  } finally {
    await rm(local, { force: true });
  }
}
