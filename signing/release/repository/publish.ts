import { Snapshot, Timestamp } from '@tufjs/models';
import type { Metadata, MetaFile, Root } from '@tufjs/models';
import { signingError } from '../../errors.ts';
import type { Signer } from '../../keys/signer.ts';
import { authorityOf, isSignedFor } from './authority.ts';
import { chooseSigners } from './choose-signers.ts';
import type { LogAnchor } from './event-log.ts';
import { delegatedRoles, metadataName, places } from '../layout.ts';
import { nextVersion } from './next-version.ts';
import {
  metadataPlace,
  readMetadata,
  withRepository,
  type ReleaseContext,
  type Repository,
  type RoleFile,
} from './repository.ts';
import { versionedNames } from './versioned-names.ts';
import {
  expiryDate,
  metaFile,
  parseMetadata,
  sha256Of,
  signMetadata,
  SPEC_VERSION,
} from '../metadata/role-metadata.ts';
import { logEvent, type SigningState } from './stage-role.ts';
import type { Storage } from '../storage/storage.ts';
import { verifyTarget } from './target-files.ts';

export interface PublishResult {
  /** False: everything signed was public already and nothing was due. */
  published: boolean;
  timestamp: number;
  snapshot: number;
  /** Files that became public, in the order in which they did. */
  files: string[];
}

/**
 * Makes everything staged public: delegated roles, targets, snapshot, by one rename the timestamp, and then new roots. A
 * crash at any point leaves the repository as clients saw it before; running it again completes it. New keys of snapshot
 * and timestamp sign beside the old ones until the root that names them is public, so that both roots go with it.
 *
 * @throws E_TARGET_HASH, E_TARGET_LENGTH when a target that was signed is not there as it was signed; E_KEY_MISSING,
 * E_PASSPHRASE_WRONG, E_THRESHOLD_NOT_MET for the snapshot and timestamp keys; E_LOG_TAMPERED.
 */
export const publish = (context: ReleaseContext): Promise<PublishResult> =>
  withRepository(context, repository => publishLocked(repository, 'publish'));

/**
 * Signs timestamp again, and snapshot when it is due; publishes nothing that is staged.
 * For cron or a daemon, every 30 to 60 minutes. Errors as {@link publish}.
 */
export const refresh = (context: ReleaseContext): Promise<PublishResult> =>
  withRepository(context, refreshLocked);

/** As {@link refresh}, for a caller that holds the lock. @throws E_REPOSITORY_UNPUBLISHED. */
export async function refreshLocked(repository: Repository): Promise<PublishResult> {
  if (repository.published) return publishLocked(repository, 'refresh');
  throw unpublished(repository.storage.name);
}

/** As {@link publish}, for a caller that holds the lock. */
export async function publishLocked(
  repository: Repository,
  action: 'publish' | 'refresh' | 'init',
): Promise<PublishResult> {
  const { context, storage, published } = repository;
  const including = action !== 'refresh';
  const publishing: Publishing = {
    repository,
    state: signingState(repository),
    action,
    roots: including || !repository.publicRoot ? repository.roots : [repository.publicRoot],
    newest: including ? filesToPublish(repository) : [],
  };
  const written: string[] = [];
  const write = async (name: string, bytes: Buffer) => {
    context.onStep?.(`write ${name}`);
    await createMetadata(storage, `${places.metadata}/${name}`, bytes);
    written.push(name);
  };

  for (const [, file] of publishing.newest) {
    if (!file.staged) continue;
    for (const target of Object.values(file.metadata.signed.targets)) {
      context.onStep?.(`check ${target.path}`);
      await verifyTarget(storage, target);
    }
  }
  for (const [role, file] of publishing.newest) {
    if (file.staged) await write(metadataName(role, file.metadata.signed.version), file.bytes);
  }
  const snapshot = await nextSnapshot(publishing);
  if (snapshot.fresh) await write(metadataName('snapshot', snapshot.version), snapshot.bytes);

  const isDue = snapshot.fresh || action === 'refresh' || timestampDue(publishing);
  const present = published?.timestamp.signed.version ?? 0;
  const timestampVersion = isDue ? nextVersion(repository.state, 'timestamp', present) : present;
  const timestamp = isDue
    ? await nextTimestamp(publishing, timestampVersion, snapshot)
    : published!.timestampBytes;
  const stagedRoots = including ? await readStagedRoots(storage) : [];
  const rootsAppearLast = isReadableBefore(publishing, timestamp, snapshot.bytes);
  const writeRoots = async () => {
    for (const { name, bytes } of stagedRoots) await write(name, bytes);
  };
  if (!rootsAppearLast) await writeRoots();
  if (isDue) {
    context.onStep?.('write timestamp.json');
    await storage.replace(metadataPlace('timestamp', timestampVersion), timestamp);
    written.push('timestamp.json');
  }
  if (rootsAppearLast) await writeRoots();
  if (including) {
    context.onStep?.('clear staged');
    for (const { path } of await versionedNames(storage, places.staged)) await storage.remove(path);
  }
  return {
    published: isDue || stagedRoots.length > 0,
    timestamp: timestampVersion,
    snapshot: snapshot.version,
    files: written,
  };
}

interface Publishing {
  repository: Repository;
  state: SigningState;
  action: 'publish' | 'refresh' | 'init';
  /** The root that clients have and those that follow; what is signed should satisfy each of them, and must the last. */
  roots: Metadata<Root>[];
  /** What the next snapshot names; empty for a refresh, which keeps what the present one names. */
  newest: RoleEntry[];
}

/**
 * Whether clients that do not have the new roots yet can read the new timestamp too. Then the roots appear after it, and
 * nobody ever meets a new root with an old timestamp; else, when old keys were lost, just before it.
 */
function isReadableBefore(publishing: Publishing, timestamp: Buffer, snapshot: Buffer): boolean {
  const before = publishing.roots.slice(0, -1);
  const { targets } = publishing.repository;
  return (
    before.length > 0 &&
    before.every(
      root =>
        isSignedFor(root, 'timestamp', parseMetadata('timestamp', timestamp, 'timestamp')) &&
        isSignedFor(root, 'snapshot', parseMetadata('snapshot', snapshot, 'snapshot')) &&
        isSignedFor(root, 'targets', targets.metadata),
    )
  );
}

/** Signers of an online role: as many as the newest root asks for, and those whom the roots before it ask for. */
function onlineSigners(
  { repository, roots, state }: Publishing,
  role: 'snapshot' | 'timestamp',
): Promise<Signer[]> {
  const { targets, context } = repository;
  const authorities = roots.map(metadata => authorityOf({ root: { metadata }, targets }, role));
  const [required, ...wished] = authorities.toReversed();
  return chooseSigners(context.keys, { ...state, required: [required!], wished });
}

export const signingState = (repository: Repository): SigningState => ({
  context: repository.context,
  storage: repository.storage,
  keyNames: repository.state.keyNames,
  root: repository.root,
  targets: repository.targets,
  bareNodes: repository.state.config.bareNodes,
  anchor: repository.anchor,
});

type RoleEntry = ['targets' | (typeof delegatedRoles)[number], RoleFile];

/** Delegated roles first, then `targets`. */
const filesToPublish = (repository: Repository): RoleEntry[] => [
  ...delegatedRoles.map((role): RoleEntry => [role, repository.roles[role]]),
  ['targets', repository.targets],
];

async function readStagedRoots(storage: Storage): Promise<{ name: string; bytes: Buffer }[]> {
  const roots = (await versionedNames(storage, places.staged)).filter(entry => entry.role === 'root');
  const ordered = roots.sort((a, b) => a.version - b.version);
  return Promise.all(
    ordered.map(async ({ name, path }) => ({ name, bytes: await readMetadata(storage, path) })),
  );
}

interface SnapshotFile {
  version: number;
  bytes: Buffer;
  fresh: boolean;
}

async function nextSnapshot(publishing: Publishing): Promise<SnapshotFile> {
  const { repository, state, newest, action, roots } = publishing;
  const { published, storage, context } = repository;
  const { config } = repository.state;
  const meta: Record<string, MetaFile> = newest.length
    ? Object.fromEntries(
        newest.map(([role, file]) => [`${role}.json`, metaFile(file.metadata.signed.version, file.bytes)]),
      )
    : { ...published?.snapshot.signed.meta };
  if (
    published &&
    sameMeta(meta, published.snapshot.signed.meta) &&
    isSignedFor(roots.at(-1)!, 'snapshot', published.snapshot)
  ) {
    const leftMs = Date.parse(published.snapshot.signed.expires) - context.clock.now();
    if (leftMs > config.snapshot.resignSeconds * 1000) {
      return { version: published.snapshot.signed.version, bytes: published.snapshotBytes, fresh: false };
    }
  }
  const taken = (await versionedNames(storage, places.metadata)).filter(entry => entry.role === 'snapshot');
  const version = nextVersion(
    repository.state,
    'snapshot',
    Math.max(0, ...taken.map(entry => entry.version)),
  );
  const expires = expiryDate(context.clock.now(), config.snapshot.expiresSeconds);
  const signed = new Snapshot({ version, specVersion: SPEC_VERSION, expires, meta });
  const signers = await onlineSigners(publishing, 'snapshot');
  context.onStep?.('sign snapshot');
  const bytes = await signMetadata(signed, signers);
  await logEvent(state, { role: 'snapshot', action }, signed, signers, sha256Of(bytes));
  return { version, bytes, fresh: true };
}

const sameMeta = (a: Record<string, MetaFile>, b: Record<string, MetaFile>): boolean =>
  Object.keys(a).length === Object.keys(b).length &&
  Object.entries(a).every(([name, entry]) => b[name] !== undefined && entry.equals(b[name]));

function timestampDue({ repository, roots }: Publishing): boolean {
  const { published, context, state } = repository;
  if (!published || !isSignedFor(roots.at(-1)!, 'timestamp', published.timestamp)) return true;
  const leftMs = Date.parse(published.timestamp.signed.expires) - context.clock.now();
  return leftMs <= state.config.timestamp.resignSeconds * 1000;
}

async function nextTimestamp(
  publishing: Publishing,
  version: number,
  snapshot: SnapshotFile,
): Promise<Buffer> {
  const { repository, state, action } = publishing;
  const nowMs = repository.context.clock.now();
  const signers = await onlineSigners(publishing, 'timestamp');
  const make = (anchor: LogAnchor | null) =>
    new Timestamp({
      version,
      specVersion: SPEC_VERSION,
      expires: expiryDate(nowMs, repository.state.config.timestamp.expiresSeconds),
      snapshotMeta: metaFile(snapshot.version, snapshot.bytes),
      unrecognizedFields: {
        'x-pilotage-signed-ms': nowMs,
        ...(anchor ? { 'x-pilotage-log-entries': anchor.entries, 'x-pilotage-log-head': anchor.head } : {}),
      },
    });
  const event = { role: 'timestamp' as const, action, details: { snapshot: snapshot.version } };
  repository.context.onStep?.('sign timestamp');
  return signMetadata(make(await logEvent(state, event, make(null), signers, null)), signers);
}

/** Never overwrites: a version that is public keeps its bytes. */
async function createMetadata(storage: Storage, path: string, bytes: Buffer): Promise<void> {
  if (await storage.create(path, bytes)) return;
  if ((await readMetadata(storage, path)).equals(bytes)) return;
  throw signingError({
    code: 'E_VERSION_EXISTS',
    message: 'This version of the metadata is public with other bytes.',
    where: storage.where(path),
    rule: 'a versioned name is never written twice',
    fix: 'Sign the role again, which gives it the next version, and publish that.',
  });
}

/** For whoever needs what clients see, where there is nothing yet. */
export const unpublished = (where: string) =>
  signingError({
    code: 'E_REPOSITORY_UNPUBLISHED',
    message: 'Nothing was ever published from this repository.',
    where,
    fix: 'Run "pilotage release publish" first.',
  });
