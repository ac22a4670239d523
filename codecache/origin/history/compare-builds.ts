import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { TargetFile } from '@tufjs/models';
import { libError } from '../../../lib/errors.ts';
import type { ReleaseDescription } from '../../../signing/release/history/describe-release.ts';
import { diffReleases } from '../../../signing/release/history/diff.ts';
import { diffTexts } from '../../../signing/release/history/diff-text.ts';
import { inspectTarball, pilotLimits } from '../../../signing/release/builds/inspect-tarball.ts';
import { hashedTargetPath } from '../../../signing/release/layout.ts';
import type { DiffResult } from '../../../signing/release/history/release-diff.ts';
import { checkTarget, hashFile } from '../../../signing/release/repository/target-files.ts';
import type { PublicFiles } from '../public-files.ts';
import type { StoreHistory } from './read-history.ts';

/**
 * What differs between two releases, contents included, from public files; each tarball is verified before it is read.
 * Where a tarball is gone, `texts` is left out.
 *
 * @throws E_TARGET_HASH, E_TARGET_LENGTH, E_TARBALL_INVALID.
 */
export async function compareBuilds(
  files: PublicFiles,
  told: StoreHistory,
  from: ReleaseDescription,
  to: ReleaseDescription,
): Promise<DiffResult> {
  const diff = diffReleases(from, to);
  const { added, removed, changed } = diff.files;
  const scratch = await mkdtemp(join(tmpdir(), 'pilotage-history-'));
  try {
    const read = (release: ReleaseDescription, names: string[]) =>
      readBuild(files, told.targets.get(release.path)!, names, scratch);
    const contents = {
      from: await read(from, [...changed, ...removed]),
      to: await read(to, [...changed, ...added]),
    };
    return { ...diff, texts: diffTexts(diff, contents) };
  } catch (error) {
    if ((error as { code?: string }).code === 'E_FILE_MISSING') return diff;
    throw error;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function readBuild(
  files: PublicFiles,
  target: TargetFile,
  names: string[],
  scratch: string,
): Promise<Map<string, Buffer>> {
  if (names.length === 0) return new Map();
  const sha256 = target.hashes.sha256 ?? '';
  const place = `targets/${hashedTargetPath(target.path, sha256)}`;
  const stored = await files.open(place);
  if (stored === undefined) {
    throw libError({
      code: 'E_FILE_MISSING',
      message: 'The tarball of this release is not here any more.',
      where: place,
      fix: 'Compare it on a mirror that has it.',
    });
  }
  const file = join(scratch, sha256);
  try {
    await pipeline(stored.stream(0, stored.size - 1), createWriteStream(file, { mode: 0o600 }));
    const found = await hashFile(file);
    checkTarget(place, target, found.bytes, found.sha256);
    return (await inspectTarball({ file, source: place, limits: pilotLimits, keep: names })).kept;
  } finally {
    await stored.close();
  }
}
