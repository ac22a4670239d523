import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { TargetFile } from '@tufjs/models';
import { signingError } from '../../errors.ts';
import { describeRelease, type ReleaseDescription } from './describe-release.ts';
import { diffReleases, type ReleaseDiff } from './diff.ts';
import { diffTexts, type FileDiff } from './diff-text.ts';
import { inspectTarball, pilotLimits } from '../builds/inspect-tarball.ts';
import { targetPlace } from '../layout.ts';
import { everReleased } from './release-history.ts';
import { withRepository, type ReleaseContext } from '../repository/repository.ts';
import type { Storage } from '../storage/storage.ts';
import { verifyTarget } from '../repository/target-files.ts';
import { releaseLog } from '../repository/verify-repository.ts';

export interface DiffResult extends ReleaseDiff {
  /** Of the files that differ, when they were asked for. */
  texts?: FileDiff[];
}

/**
 * What differs between two releases of a repository, withdrawn ones included.
 *
 * @param context.text compares the contents of changed files as well; the tarballs are verified first.
 * @throws E_VERSION_UNKNOWN, E_LOG_TAMPERED, and with `text` E_TARGET_HASH, E_TARGET_LENGTH, E_FILE_MISSING,
 * E_TARBALL_INVALID.
 */
export async function releaseDiff(
  context: ReleaseContext & { from: string; to: string; text?: boolean },
): Promise<DiffResult> {
  await releaseLog(context);
  return withRepository(context, async repository => {
    const { storage } = repository;
    const targets = await everReleased(repository);
    const [from, to] = [releaseNamed(targets, context.from), releaseNamed(targets, context.to)];
    const diff = diffReleases(from, to);
    if (!context.text) return diff;
    const { added, removed, changed } = diff.files;
    const contents = {
      from: await readFiles(storage, targets.get(from.path)!, [...changed, ...removed]),
      to: await readFiles(storage, targets.get(to.path)!, [...changed, ...added]),
    };
    return { ...diff, texts: diffTexts(diff, contents) };
  });
}

function releaseNamed(targets: ReadonlyMap<string, TargetFile>, version: string): ReleaseDescription {
  const found = describeRelease(targets, version);
  if (found) return found;
  const known = [...targets.keys()].flatMap(
    path => /^pilot\/([^/]+)\/pilot-\1\.tar\.gz$/.exec(path)?.[1] ?? [],
  );
  throw signingError({
    code: 'E_VERSION_UNKNOWN',
    message: `The role releases never signed a release ${version.slice(0, 100)}.`,
    where: 'role releases',
    expected: known.slice(-20).join(', ') || 'none is there yet',
    found: version.slice(0, 100),
    fix: 'Check the version: pilotage release history',
  });
}

/**
 * Files of a pilot tarball by path, verified before they are read; those of more than 1 MiB are left out.
 *
 * @throws E_TARGET_HASH, E_TARGET_LENGTH, E_FILE_MISSING, E_TARBALL_INVALID.
 */
export async function readFiles(
  storage: Storage,
  target: TargetFile,
  names: string[],
): Promise<Map<string, Buffer>> {
  if (names.length === 0) return new Map();
  await verifyTarget(storage, target);
  const place = targetPlace(target);
  const file = join(await storage.workDirectory(), `${randomBytes(8).toString('hex')}.tar.gz`);
  const stored = (await storage.open(place))!;
  try {
    await pipeline(stored.stream(), createWriteStream(file, { mode: 0o600 }));
    const source = storage.where(place);
    return (await inspectTarball({ file, source, limits: pilotLimits, keep: names })).kept;
  } finally {
    await stored.close();
    await rm(file, { force: true });
  }
}
