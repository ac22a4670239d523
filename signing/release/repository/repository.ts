import type { Metadata, Root, Snapshot, Targets, Timestamp } from '@tufjs/models';
import * as z from 'zod';
import type { Clock } from '../../../lib/clock.ts';
import { PilotageError, libError } from '../../../lib/errors.ts';
import { ReleaseConfig } from '../../config/schema.ts';
import { signingError } from '../../errors.ts';
import type { KeyRing } from '../../keys/signer.ts';
import type { LogAnchor } from './event-log.ts';
import { delegatedRoles, metadataName, places, type DelegatedRole, type Role } from '../layout.ts';
import { noRepository } from './no-repository.ts';
import { withRepositoryLock } from './repository-lock.ts';
import { MAX_METADATA_BYTES, parseMetadata } from '../metadata/role-metadata.ts';
import { isSignedFor } from './authority.ts';
import { finishMove } from '../sign/move-staged.ts';
import type { Storage } from '../storage/storage.ts';
import { versionedNames } from './versioned-names.ts';
import { verifyDelegate, type AnyMetadata } from '../metadata/verify-delegate.ts';

export const MAX_STATE_BYTES = 1 << 20;

/** What every release function is given. */
export interface ReleaseContext {
  /** Where the repository is kept. */
  storage: Storage;
  keys: KeyRing;
  clock: Clock;
  /** Who runs it, for the log; a plain word. */
  actor?: string | undefined;
  /** How long to wait for another command on the same repository, default 30. */
  lockWaitSeconds?: number | undefined;
  /** With too few keys here, a version waits for the signatures of others instead of being refused. */
  propose?: boolean | undefined;
  /** Called with the roles of which a version now waits. */
  onProposed?: ((roles: readonly string[]) => void) | undefined;
  /** Called before each durable step with its name; progress, and a place for tests to fail. */
  onStep?: ((step: string) => void) | undefined;
}

/** `repository.json`: what the managers' tools know besides the signed metadata. */
export const RepositoryState = z.object({
  schema: z.literal(1),
  createdAt: z.string(),
  config: ReleaseConfig,
  keyNames: z.record(z.string(), z.string()).describe('Key id -> name of the key.'),
  past: z
    .record(z.string(), z.int().min(0))
    .optional()
    .describe('Numbers that clients have seen and the repository lost: the next ones are higher.'),
});
export type RepositoryState = z.output<typeof RepositoryState>;

/** Newest metadata of a role, signed but perhaps not yet published. */
export interface RoleFile<T extends Root | Targets = Targets> {
  metadata: Metadata<T>;
  bytes: Buffer;
  staged: boolean;
}

export interface Published {
  timestamp: Metadata<Timestamp>;
  timestampBytes: Buffer;
  snapshot: Metadata<Snapshot>;
  snapshotBytes: Buffer;
}

/** The whole state of a repository, every signature in it checked. */
export interface Repository {
  context: ReleaseContext;
  storage: Storage;
  state: RepositoryState;
  root: RoleFile<Root>;
  /** The root that clients have, then those staged after it; only staged ones before the first publish. */
  roots: Metadata<Root>[];
  /** The newest root that is public, which refresh signs for; null before the first publish. */
  publicRoot: Metadata<Root> | null;
  targets: RoleFile;
  roles: Record<DelegatedRole, RoleFile>;
  /** Null until the first publish has ended. */
  published: Published | null;
  anchor: LogAnchor | null;
}

/**
 * Locks and opens a repository for one command.
 *
 * @throws E_REPOSITORY_MISSING, E_REPOSITORY_UNREADABLE, E_REPOSITORY_LOCKED, E_TUF_SIGNATURE.
 */
export async function withRepository<T>(
  context: ReleaseContext,
  run: (repository: Repository) => Promise<T>,
): Promise<T> {
  const { storage, clock, lockWaitSeconds } = context;
  await readState(storage);
  return withRepositoryLock({ storage, clock, waitSeconds: lockWaitSeconds }, async () => {
    await finishMove(storage);
    return run(await openRepository(context));
  });
}

/** Opens a repository without its lock, for reading. Errors as {@link withRepository}. */
export async function openRepository(context: ReleaseContext): Promise<Repository> {
  const { storage } = context;
  const state = await readState(storage);
  const published = await readPublished(storage);
  const versions = await newestVersions(storage, published);
  const root = await readRole(storage, 'root', versions);
  verifyOwn(root.metadata, 'root', root.metadata, storage);
  const { roots, publicRoot } = await readRoots(storage);
  if (published) {
    // A publish that was cut short between a new root and its timestamp left the timestamp of the root before.
    const inForce = [publicRoot, roots[0]].find(
      known => known && isSignedFor(known, 'timestamp', published.timestamp),
    );
    const judge = inForce ?? publicRoot ?? root.metadata;
    verifyOwn(judge, 'timestamp', published.timestamp, storage);
    verifyOwn(judge, 'snapshot', published.snapshot, storage);
  }
  const targets = await readRole(storage, 'targets', versions);
  verifyOwn(root.metadata, 'targets', targets.metadata, storage);
  const roles: Partial<Record<DelegatedRole, RoleFile>> = {};
  for (const role of delegatedRoles) {
    const file = await readRole(storage, role, versions);
    verifyOwn(targets.metadata, role, file.metadata, storage);
    roles[role] = file;
  }
  return {
    context,
    storage,
    state,
    root,
    roots,
    publicRoot,
    targets,
    roles: roles as Record<DelegatedRole, RoleFile>,
    published,
    anchor: published ? anchorOf(published.timestamp) : null,
  };
}

/** @throws E_REPOSITORY_MISSING, E_REPOSITORY_UNREADABLE, E_DATABASE_UNREACHABLE. */
export async function readState(storage: Storage): Promise<RepositoryState> {
  let bytes: Buffer | null;
  try {
    bytes = await storage.read(places.state, MAX_STATE_BYTES);
  } catch (error) {
    if (error instanceof PilotageError && error.code === 'E_DATABASE_UNREACHABLE') throw error;
    throw signingError({
      code: 'E_REPOSITORY_UNREADABLE',
      message: 'The repository cannot be read.',
      where: storage.name,
      fix: 'Check the owner and mode of the repository.',
      cause: error,
    });
  }
  if (!bytes) throw noRepository(storage.name);
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    value = undefined;
  }
  const parsed = RepositoryState.safeParse(value);
  if (parsed.success) return parsed.data;
  throw signingError({
    code: 'E_REPOSITORY_UNREADABLE',
    message: `The state of the repository is not valid: ${parsed.error.issues[0]!.path.join('.')}: ${parsed.error.issues[0]!.message}.`,
    where: storage.where(places.state),
    fix: 'Restore the file from a backup.',
  });
}

/** Head of the event log that the signed timestamp names. */
export function anchorOf(timestamp: Metadata<Timestamp>): LogAnchor | null {
  const fields = timestamp.signed.unrecognizedFields;
  const entries = fields['x-pilotage-log-entries'];
  const head = fields['x-pilotage-log-head'];
  return typeof entries === 'number' && typeof head === 'string' ? { entries, head } : null;
}

async function readPublished(storage: Storage): Promise<Published | null> {
  const path = metadataPlace('timestamp', 0);
  const timestampBytes = await storage.read(path, MAX_METADATA_BYTES);
  if (!timestampBytes) return null;
  const timestamp = parseMetadata('timestamp', timestampBytes, storage.where(path));
  const snapshotPath = metadataPlace('snapshot', timestamp.signed.snapshotMeta.version);
  const snapshotBytes = await readMetadata(storage, snapshotPath);
  return {
    timestamp,
    timestampBytes,
    snapshot: parseMetadata('snapshot', snapshotBytes, storage.where(snapshotPath)),
    snapshotBytes,
  };
}

/** A metadata file that must be there. @throws E_FILE_MISSING. */
export async function readMetadata(storage: Storage, path: string): Promise<Buffer> {
  const bytes = await storage.read(path, MAX_METADATA_BYTES);
  if (bytes) return bytes;
  throw libError({
    code: 'E_FILE_MISSING',
    message: 'A metadata file of the repository is not there.',
    where: storage.where(path),
    fix: 'Restore it from a mirror or backup: pilotage release recover --from URL.',
  });
}

/** Path of a published metadata file. */
export const metadataPlace = (role: string, version: number): string =>
  `${places.metadata}/${metadataName(role, version)}`;

async function readRoots(storage: Storage): Promise<Pick<Repository, 'roots' | 'publicRoot'>> {
  const versionsIn = async (place: string) =>
    (await versionedNames(storage, place))
      .filter(({ role }) => role === 'root')
      .map(({ version }) => version);
  const staged = (await versionsIn(places.staged)).sort((a, b) => a - b);
  const newest = Math.max(0, ...(await versionsIn(places.metadata)));
  const read = async (path: string) =>
    parseMetadata('root', await readMetadata(storage, path), storage.where(path));
  const publicRoot = newest > 0 ? await read(metadataPlace('root', newest)) : null;
  const base = Math.min(newest, (staged[0] ?? Infinity) - 1);
  const roots = base > 0 ? [await read(metadataPlace('root', base))] : [];
  for (const version of staged) roots.push(await read(`${places.staged}/${metadataName('root', version)}`));
  return { roots, publicRoot };
}

type Versions = Map<string, { version: number; staged: boolean }>;

async function newestVersions(storage: Storage, published: Published | null): Promise<Versions> {
  const newest: Versions = new Map();
  const offer = (role: string, version: number, staged: boolean) => {
    if (version > (newest.get(role)?.version ?? 0)) newest.set(role, { version, staged });
  };
  for (const [name, meta] of Object.entries(published?.snapshot.signed.meta ?? {})) {
    offer(name.replace(/\.json$/, ''), meta.version, false);
  }
  for (const { role, version } of await versionedNames(storage, places.metadata)) {
    if (role === 'root') offer(role, version, false);
  }
  for (const { role, version } of await versionedNames(storage, places.staged)) offer(role, version, true);
  return newest;
}

async function readRole(storage: Storage, role: 'root', versions: Versions): Promise<RoleFile<Root>>;
async function readRole(
  storage: Storage,
  role: 'targets' | DelegatedRole,
  versions: Versions,
): Promise<RoleFile>;
async function readRole(
  storage: Storage,
  role: Role,
  versions: Versions,
): Promise<RoleFile<Root> | RoleFile> {
  const newest = versions.get(role);
  if (!newest) {
    throw signingError({
      code: 'E_REPOSITORY_UNREADABLE',
      message: `The repository has no metadata of the role "${role}".`,
      where: storage.where(places.metadata),
      fix: 'Restore the repository from a mirror or backup.',
    });
  }
  const directory = newest.staged ? places.staged : places.metadata;
  const path = `${directory}/${metadataName(role, newest.version)}`;
  const bytes = await readMetadata(storage, path);
  const where = storage.where(path);
  const metadata =
    role === 'root' ? parseMetadata('root', bytes, where) : parseMetadata('targets', bytes, where);
  return { metadata, bytes, staged: newest.staged } as RoleFile;
}

const verifyOwn = (
  delegator: Metadata<Root> | Metadata<Targets>,
  role: Role,
  metadata: AnyMetadata,
  storage: Storage,
): void =>
  verifyDelegate(delegator, role, metadata, {
    message: "The repository's own metadata is not signed as it must be",
    where: storage.where(metadataPlace(role, metadata.signed.version)),
    rule: 'a role is amended only when its present version is properly signed',
    fix: 'Restore the repository from a mirror or backup.',
  });
