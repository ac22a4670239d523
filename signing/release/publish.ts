import { Snapshot, Timestamp } from '@tufjs/models';
import type { MetaFile } from '@tufjs/models';
import { signingError } from '../errors.ts';
import { appendEvent, type LogAnchor } from './event-log.ts';
import { delegatedRoles, metadataName, places, type Role } from './layout.ts';
import {
  metadataPlace,
  readMetadata,
  versionedNames,
  withRepository,
  type ReleaseContext,
  type Repository,
  type RoleFile,
} from './repository.ts';
import { expiryDate, metaFile, signMetadata, SPEC_VERSION } from './role-metadata.ts';
import { eventOf, pickSigners, signAndLog, type SigningState } from './stage-role.ts';
import type { Storage } from './storage/storage.ts';
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
 * Makes everything staged public: new root, delegated roles, targets, snapshot, and by one rename the timestamp. A crash
 * at any point leaves the repository as clients saw it before; running it again completes it. Order of code-store 4.3.
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
  withRepository(context, repository => {
    if (repository.published) return publishLocked(repository, 'refresh');
    throw signingError({
      code: 'E_REPOSITORY_UNPUBLISHED',
      message: 'Nothing was ever published from this repository.',
      where: context.storage.name,
      fix: 'Run "pilotage release publish" first.',
    });
  });

/** As {@link publish}, for a caller that holds the lock. */
export async function publishLocked(
  repository: Repository,
  action: 'publish' | 'refresh' | 'init',
): Promise<PublishResult> {
  const state = signingState(repository);
  const { context, storage } = repository;
  const step = (name: string) => context.onStep?.(name);
  const written: string[] = [];
  const including = action !== 'refresh';
  const newest = filesToPublish(repository, including);

  if (including) {
    for (const [, file] of newest) {
      if (!file.staged) continue;
      for (const target of Object.values(file.metadata.signed.targets)) {
        step(`check ${target.path}`);
        await verifyTarget(storage, target);
      }
    }
    await publishRoots(repository, written);
    for (const [role, file] of newest) {
      if (!file.staged) continue;
      const name = metadataName(role, file.metadata.signed.version);
      step(`write ${name}`);
      await createMetadata(storage, `${places.metadata}/${name}`, file.bytes);
      written.push(name);
    }
  }

  const snapshot = await nextSnapshot(repository, state, newest, action);
  if (snapshot.fresh) {
    const name = metadataName('snapshot', snapshot.version);
    step(`write ${name}`);
    await createMetadata(storage, `${places.metadata}/${name}`, snapshot.bytes);
    written.push(name);
  }

  let timestampVersion = repository.published?.timestamp.signed.version ?? 0;
  const publishes = snapshot.fresh || action === 'refresh' || timestampDue(repository);
  if (publishes) {
    timestampVersion += 1;
    const bytes = await nextTimestamp(repository, state, action, timestampVersion, snapshot);
    step('write timestamp.json');
    await storage.replace(metadataPlace('timestamp', timestampVersion), bytes);
    written.push('timestamp.json');
  }
  if (including) {
    step('clear staged');
    for (const { path } of await versionedNames(storage, places.staged)) await storage.remove(path);
  }
  return {
    published: publishes,
    timestamp: timestampVersion,
    snapshot: snapshot.version,
    files: written,
  };
}

export const signingState = (repository: Repository): SigningState => ({
  context: repository.context,
  storage: repository.storage,
  keyNames: repository.state.keyNames,
  root: repository.root,
  targets: repository.targets,
  anchor: repository.anchor,
});

type RoleEntry = ['targets' | (typeof delegatedRoles)[number], RoleFile];

/** Delegated roles first, then `targets`; for a refresh, what the present snapshot names. */
function filesToPublish(repository: Repository, including: boolean): RoleEntry[] {
  if (!including) return [];
  return [
    ...delegatedRoles.map((role): RoleEntry => [role, repository.roles[role]]),
    ['targets', repository.targets],
  ];
}

async function publishRoots(repository: Repository, written: string[]): Promise<void> {
  const { storage } = repository;
  const roots = (await versionedNames(storage, places.staged)).filter(entry => entry.role === 'root');
  for (const { name, path } of roots.sort((a, b) => a.version - b.version)) {
    repository.context.onStep?.(`write ${name}`);
    await createMetadata(storage, `${places.metadata}/${name}`, await readMetadata(storage, path));
    written.push(name);
  }
}

interface SnapshotFile {
  version: number;
  bytes: Buffer;
  fresh: boolean;
}

async function nextSnapshot(
  repository: Repository,
  state: SigningState,
  newest: RoleEntry[],
  action: string,
): Promise<SnapshotFile> {
  const { published, storage, context } = repository;
  const { config } = repository.state;
  const meta: Record<string, MetaFile> = newest.length
    ? Object.fromEntries(
        newest.map(([role, file]) => [`${role}.json`, metaFile(file.metadata.signed.version, file.bytes)]),
      )
    : { ...published?.snapshot.signed.meta };
  if (published && sameMeta(meta, published.snapshot.signed.meta)) {
    const leftMs = Date.parse(published.snapshot.signed.expires) - context.clock.now();
    if (leftMs > config.snapshot.resignSeconds * 1000) {
      return { version: published.snapshot.signed.version, bytes: published.snapshotBytes, fresh: false };
    }
  }
  const taken = (await versionedNames(storage, places.metadata)).filter(entry => entry.role === 'snapshot');
  const version = Math.max(0, ...taken.map(entry => entry.version)) + 1;
  const expires = expiryDate(context.clock.now(), config.snapshot.expiresSeconds);
  const signed = new Snapshot({ version, specVersion: SPEC_VERSION, expires, meta });
  const signers = await pickSigners(state, 'snapshot');
  context.onStep?.('sign snapshot');
  return {
    version,
    bytes: await signAndLog(state, { role: 'snapshot', action }, signed, signers),
    fresh: true,
  };
}

const sameMeta = (a: Record<string, MetaFile>, b: Record<string, MetaFile>): boolean =>
  Object.keys(a).length === Object.keys(b).length &&
  Object.entries(a).every(([name, entry]) => b[name] !== undefined && entry.equals(b[name]));

function timestampDue(repository: Repository): boolean {
  const { published, context, state } = repository;
  if (!published) return true;
  const leftMs = Date.parse(published.timestamp.signed.expires) - context.clock.now();
  return leftMs <= state.config.timestamp.resignSeconds * 1000;
}

async function nextTimestamp(
  repository: Repository,
  state: SigningState,
  action: string,
  version: number,
  snapshot: SnapshotFile,
): Promise<Buffer> {
  const nowMs = repository.context.clock.now();
  const signers = await pickSigners(state, 'timestamp');
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
  const role: Role = 'timestamp';
  const event = eventOf(
    state,
    { role, action, details: { snapshot: snapshot.version } },
    make(null),
    signers,
    null,
  );
  repository.context.onStep?.('sign timestamp');
  return signMetadata(make(await appendEvent(repository.storage, event, state.anchor)), signers);
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
