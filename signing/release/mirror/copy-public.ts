import { isSignedFor } from '../repository/authority.ts';
import { metadataName } from '../layout.ts';
import { anchorOf } from '../repository/repository.ts';
import { MAX_METADATA_BYTES, sha256Of } from '../metadata/role-metadata.ts';
import type { TrustedMetadata } from '../metadata/trusted-metadata.ts';
import { copyLog } from './copy-log.ts';
import { readRoots } from './copy-roots.ts';
import { copyTargets } from './copy-targets.ts';
import { need, writeCopied, type Copy, type CopyOptions } from './copy.ts';

export interface CopyResult {
  /** False: what is here is as new as the source. */
  changed: boolean;
  root: number;
  timestamp: number;
  snapshot: number;
  /** Files that were written, in that order. */
  files: string[];
}

/**
 * Copies a published tree so that no client ever meets a tree that does not hold together: everything is verified from the
 * pinned root on, nothing older than what is here is taken, and the timestamp comes last, when all that it stands for is
 * here and right (code-store 4.3). Cut short anywhere it is completed by the next run.
 *
 * @throws what {@link TrustedMetadata} throws; E_TARGET_HASH, E_TARGET_LENGTH, E_FILE_MISSING, E_LOG_TAMPERED, E_UNREACHABLE;
 * each naming the file of the source.
 */
export async function copyPublic(options: CopyOptions): Promise<CopyResult> {
  const at = (path: string) => (options.folder === '' ? path : `${options.folder}/${path}`);
  const copy: Copy = { ...options, at, written: [] };
  const { fresh, trusted, before } = await readRoots(copy);
  const timestamp = await need(copy.from, 'metadata/timestamp.json');
  const isNewer = updateTimestamp(copy, trusted, timestamp);
  const writeRoots = async () => {
    for (const { path, bytes } of fresh) await writeCopied(copy, path, bytes);
  };
  if (isNewer || copy.repairs) {
    const metadata = await loadMetadata(copy, trusted);
    await copyTargets(copy, trusted, metadata.length > 0 || (copy.repairs ?? false));
    for (const { path, bytes } of metadata) await writeCopied(copy, path, bytes);
    await copyLog(copy, anchorOf(trusted.timestamp));
  }
  // As a publish does: after the timestamp, where whoever has only the roots before can read it too.
  const rootsAppearLast =
    isNewer &&
    before !== null &&
    isSignedFor(before, 'timestamp', trusted.timestamp) &&
    isSignedFor(before, 'snapshot', trusted.snapshot) &&
    isSignedFor(before, 'targets', trusted.targets('targets')!);
  if (!rootsAppearLast) await writeRoots();
  if (isNewer) {
    copy.onStep?.('write timestamp.json');
    await copy.to.replace(copy.at('metadata/timestamp.json'), timestamp);
    copy.written.push('metadata/timestamp.json');
  }
  if (rootsAppearLast) await writeRoots();
  return {
    changed: copy.written.length > 0,
    root: trusted.root.signed.version,
    timestamp: trusted.timestamp.signed.version,
    snapshot: trusted.timestamp.signed.snapshotMeta.version,
    files: copy.written,
  };
}

/** True when it is newer than what is here; for repairs, an older source may still hold what is missing here. */
function updateTimestamp(copy: Copy, trusted: TrustedMetadata, bytes: Buffer): boolean {
  try {
    return trusted.updateTimestamp(bytes);
  } catch (error) {
    if (copy.repairs && (error as { code?: string }).code === 'E_TUF_STALE') return false;
    throw error;
  }
}

/**
 * Verifies snapshot and all roles, from here where they are here and right.
 *
 * @returns what has to be written, in the order in which it may appear: delegated roles, targets, snapshot.
 */
async function loadMetadata(
  copy: Copy,
  trusted: TrustedMetadata,
): Promise<{ path: string; bytes: Buffer }[]> {
  const load = async (role: string, meta: { version: number; hashes?: Record<string, string> }) => {
    const path = `metadata/${metadataName(role, meta.version)}`;
    const own = await copy.to.read(copy.at(path), MAX_METADATA_BYTES);
    if (own && sha256Of(own) === meta.hashes?.sha256) return { path, bytes: own, isNew: false };
    return { path, bytes: await need(copy.from, path), isNew: true };
  };
  const snapshot = await load('snapshot', trusted.timestamp.signed.snapshotMeta);
  trusted.updateSnapshot(snapshot.bytes);
  const targets = await load('targets', trusted.metaOf('targets'));
  trusted.updateTargets({ role: 'targets', delegator: 'root' }, targets.bytes);
  const files = [targets, snapshot];
  for (const name of Object.keys(trusted.snapshot.signed.meta)) {
    const role = name.replace(/\.json$/, '');
    if (role === 'targets') continue;
    const file = await load(role, trusted.metaOf(role));
    trusted.updateTargets({ role, delegator: 'targets' }, file.bytes);
    files.unshift(file);
  }
  return files.filter(file => file.isNew);
}
