import type { Clock } from '../../lib/clock.ts';
import { PilotageError, libError } from '../../lib/errors.ts';
import { hashedTargetPath, places } from '../../signing/release/layout.ts';
import { readReleaseMetadata } from '../../signing/release/metadata/read-public.ts';
import { MAX_METADATA_BYTES } from '../../signing/release/metadata/role-metadata.ts';
import { roleTerms } from '../../signing/release/repository/role-terms.ts';
import type { RoleTerm } from '../../signing/release/repository/role-terms.ts';
import { verifyMetadata } from '../../signing/release/metadata/verify-metadata.ts';
import type { VerifiedMetadata } from '../../signing/release/metadata/verify-metadata.ts';
import type { PublicFiles } from './public-files.ts';

export interface StoreReport {
  /** Undefined: a client that starts now gets what the channels name. Else what is wrong, in words. */
  problem?: string;
  /** What the published metadata says, verified or not. */
  roles: Record<string, RoleTerm>;
  channels: VerifiedMetadata['channels'];
}

const LOOK_SECONDS = 10;
/** Strangers may read the report: files are named as they are inside a repository. */
const where = places.public;

/**
 * Looks at a store as a client would: signatures from its first root on, expiry, every file that is named; of the
 * targets those that channels point at, by their length.
 */
export async function inspectStore(files: PublicFiles, clock: Clock): Promise<StoreReport> {
  const report: StoreReport = { roles: {}, channels: {} };
  const giveUp = new AbortController();
  const late = clock.sleep(LOOK_SECONDS * 1000, giveUp.signal).then(
    () => Promise.reject(tooSlow()),
    () => undefined,
  );
  try {
    await Promise.race([look(files, clock, report), late.then(() => new Promise<never>(() => undefined))]);
  } catch (error) {
    report.problem =
      error instanceof PilotageError
        ? [`${error.code}: ${error.message}`, error.where, error.fix].filter(Boolean).join(' ')
        : `The repository cannot be read: ${(error as Error).message}`;
  } finally {
    giveUp.abort();
  }
  return report;
}

async function look(files: PublicFiles, clock: Clock, report: StoreReport): Promise<void> {
  const read = async (path: string): Promise<Buffer | null> => {
    const file = await files.open(path);
    if (file === undefined) return null;
    try {
      if (file.size > MAX_METADATA_BYTES) throw missing(`${where}/${path}`, `${file.size} bytes`);
      return await file.bytes();
    } finally {
      await file.close();
    }
  };
  const bytes = await readReleaseMetadata(read, { where });
  report.roles = roleTerms(bytes);
  const verified = verifyMetadata(bytes, { nowMs: clock.now(), where });
  report.channels = verified.channels;
  for (const { current, previous } of Object.values(verified.channels)) {
    for (const release of [current, previous]) {
      for (const artefact of release ? [release.pilot, ...Object.values(release.runtimes)] : []) {
        const target = verified.targets.get(artefact.path);
        // Withdrawn builds are signed no more, and need not be there.
        if (target?.hashes.sha256 === artefact.sha256) {
          await requireTarget(files, hashedTargetPath(artefact.path, artefact.sha256), target.length);
        }
      }
    }
  }
}

async function requireTarget(files: PublicFiles, path: string, length: number): Promise<void> {
  const file = await files.open(`targets/${path}`);
  await file?.close();
  if (file?.size !== length) {
    throw missing(`${where}/targets/${path}`, file ? `${file.size} bytes` : 'no file');
  }
}

const missing = (where: string, found: string) =>
  libError({
    code: 'E_FILE_MISSING',
    message: 'A file that the signed metadata names is not there as it was signed.',
    where,
    found,
    fix: 'Restore it from a mirror or backup, or sync this mirror again.',
  });

const tooSlow = () =>
  libError({
    code: 'E_TIMEOUT',
    message: `The repository could not be read within ${LOOK_SECONDS} s.`,
    fix: 'Look at the disk or the database it is kept in.',
  });

/** Looks at most once in `seconds`, however many ask, and one at a time. */
export function watchStore(files: PublicFiles, clock: Clock, seconds = 5): () => Promise<StoreReport> {
  let last: { atMs: number; report: Promise<StoreReport> } | undefined;
  return () => {
    const nowMs = clock.monotonic();
    if (last === undefined || nowMs - last.atMs >= seconds * 1000) {
      last = { atMs: nowMs, report: inspectStore(files, clock) };
    }
    return last.report;
  };
}
