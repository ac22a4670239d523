import type { Metadata, Root } from '@tufjs/models';
import type { Clock } from '../../../lib/clock.ts';
import { libError } from '../../../lib/errors.ts';
import { signingError } from '../../errors.ts';
import { isSignedFor } from '../authority.ts';
import { metadataName } from '../layout.ts';
import { anchorOf } from '../repository.ts';
import { MAX_METADATA_BYTES, parseMetadata, sha256Of } from '../role-metadata.ts';
import type { Storage } from '../storage/storage.ts';
import { TrustedMetadata } from '../trusted-metadata.ts';
import { copyLog, type DivergedLog } from './copy-log.ts';
import { copyTargets } from './copy-targets.ts';
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
  /** What to do with a log of ours that the copied one does not continue; default refuse. */
  divergedLog?: DivergedLog;
  /** Called before each durable step. */
  onStep?: ((step: string) => void) | undefined;
}

export interface CopyResult {
  /** False: what is here is as new as the source. */
  changed: boolean;
  root: number;
  timestamp: number;
  snapshot: number;
  /** Files that were written, in that order. */
  files: string[];
}

/** What a copy works on. */
export interface Copy extends CopyOptions {
  at: (path: string) => string;
  written: string[];
}

const MAX_ROOTS = 1024;

/**
 * Copies a published tree so that no client ever meets a tree that does not hold together: everything is verified from the
 * pinned root on, nothing older than what is here is taken, and the timestamp comes last, when all that it stands for is
 * here and right (code-store 4.3). Cut short anywhere it is completed by the next run.
 *
 * @throws what {@link TrustedMetadata} throws; E_TARGET_HASH, E_TARGET_LENGTH, E_FILE_MISSING, E_LOG_TAMPERED, E_UNREACHABLE;
 * each naming the file of the source.
 */
export async function copyPublic(options: CopyOptions): Promise<CopyResult> {
  const copy: Copy = {
    ...options,
    at: path => (options.folder === '' ? path : `${options.folder}/${path}`),
    written: [],
  };
  const { from, to } = copy;
  const { roots, trusted, before } = await verifyRoots(copy);
  const timestampBytes = await need(from, 'metadata/timestamp.json');
  const isNewer = trusted.updateTimestamp(timestampBytes);
  const freshRoots = roots.filter(root => root.isNew);
  const writeRoots = async () => {
    for (const { name, bytes } of freshRoots) await write(copy, `metadata/${name}`, bytes);
  };
  const result = () => ({
    changed: copy.written.length > 0,
    root: trusted.root.signed.version,
    timestamp: trusted.timestamp.signed.version,
    snapshot: trusted.timestamp.signed.snapshotMeta.version,
    files: copy.written,
  });
  if (!isNewer) {
    await writeRoots();
    return result();
  }

  const files = new Map<string, Buffer>();
  const load = async (role: string, meta: { version: number; hashes?: Record<string, string> }) => {
    const path = `metadata/${metadataName(role, meta.version)}`;
    const own = await to.read(copy.at(path), MAX_METADATA_BYTES);
    const isRight = own !== null && sha256Of(own) === meta.hashes?.sha256;
    const bytes = isRight ? own : await need(from, path);
    if (!isRight) files.set(path, bytes);
    return bytes;
  };
  const { snapshotMeta } = trusted.timestamp.signed;
  const snapshotBytes = await load('snapshot', snapshotMeta);
  trusted.updateSnapshot(snapshotBytes);
  const isNewSnapshot = files.size > 0;
  trusted.updateTargets(
    { role: 'targets', delegator: 'root' },
    await load('targets', trusted.metaOf('targets')),
  );
  for (const name of Object.keys(trusted.snapshot.signed.meta)) {
    const role = name.replace(/\.json$/, '');
    if (role === 'targets') continue;
    trusted.updateTargets({ role, delegator: 'targets' }, await load(role, trusted.metaOf(role)));
  }

  await copyTargets(copy, trusted, isNewSnapshot);
  const order = (path: string) => (/snapshot/.test(path) ? 2 : /\d\.targets\.json$/.test(path) ? 1 : 0);
  const ordered = [...files].sort(([a], [b]) => order(a) - order(b));
  for (const [path, bytes] of ordered) await write(copy, path, bytes);
  await copyLog(copy, anchorOf(trusted.timestamp));
  const rootsAppearLast =
    before !== null &&
    isSignedFor(before, 'timestamp', trusted.timestamp) &&
    isSignedFor(before, 'snapshot', trusted.snapshot) &&
    isSignedFor(before, 'targets', trusted.targets('targets')!);
  if (!rootsAppearLast) await writeRoots();
  copy.onStep?.('write timestamp.json');
  await to.replace(copy.at('metadata/timestamp.json'), timestampBytes);
  copy.written.push('metadata/timestamp.json');
  if (rootsAppearLast) await writeRoots();
  return result();
}

interface RootFile {
  name: string;
  bytes: Buffer;
  /** Not here yet. */
  isNew: boolean;
}

/** The whole chain from version 1, verified through the pinned root; what is here of timestamp and snapshot is recalled. */
async function verifyRoots(
  copy: Copy,
): Promise<{ roots: RootFile[]; trusted: TrustedMetadata; before: Metadata<Root> | null }> {
  const { from, to, trustedRoot } = copy;
  const pinned = parseMetadata('root', trustedRoot, 'the pinned root').signed.version;
  let trusted: TrustedMetadata | undefined;
  let before: Metadata<Root> | null = null;
  const roots: RootFile[] = [];
  for (let version = 1; version <= MAX_ROOTS; version += 1) {
    const name = metadataName('root', version);
    const path = `metadata/${name}`;
    const own = await to.read(copy.at(path), MAX_METADATA_BYTES);
    const bytes = own ?? (await from.read(path));
    if (!own && trusted && !before) {
      await recall(copy, trusted);
      before = trusted.root;
    }
    if (!bytes) break;
    if (version === pinned && !Buffer.from(bytes).equals(trustedRoot)) throw otherRepository(copy, name);
    if (trusted) trusted.updateRoot(bytes);
    else {
      trusted = new TrustedMetadata(bytes, {
        nowMs: copy.clock.now(),
        at: file => `${from.name}/${file}`,
        mayExpire: copy.mayExpire,
      });
    }
    roots.push({ name, bytes: Buffer.from(bytes), isNew: !own });
  }
  if (!trusted || roots.length < pinned) throw missing(from, `metadata/${metadataName('root', pinned)}`);
  return { roots, trusted, before: roots.some(root => !root.isNew) ? before : null };
}

/** What was copied before is the least from now on. What the newest root does not accept was left by a cut rotation. */
async function recall(copy: Copy, trusted: TrustedMetadata): Promise<void> {
  const timestamp = await copy.to.read(copy.at('metadata/timestamp.json'), MAX_METADATA_BYTES);
  if (!timestamp) return;
  const { signed } = parseMetadata('timestamp', timestamp, copy.to.where(copy.at('metadata/timestamp.json')));
  const path = copy.at(`metadata/${metadataName('snapshot', signed.snapshotMeta.version)}`);
  const snapshot = await copy.to.read(path, MAX_METADATA_BYTES);
  try {
    trusted.recallTimestamp(timestamp);
    if (snapshot) trusted.recallSnapshot(snapshot);
  } catch (error) {
    if ((error as { code?: string }).code !== 'E_TUF_SIGNATURE') throw error;
  }
}

/** Verified bytes under their name; what has the name and was damaged gives way. */
async function write(copy: Copy, path: string, bytes: Buffer): Promise<void> {
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

const otherRepository = ({ from }: Copy, name: string) =>
  signingError({
    code: 'E_TUF_SIGNATURE',
    message: 'This is another repository: its root of that version is not the pinned one.',
    where: `${from.name}/metadata/${name}`,
    rule: 'everything is verified from the pinned root on',
    fix: 'Check the address, and the file given as --root.',
  });
