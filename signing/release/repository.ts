import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Key, Metadata, Root, Snapshot, Targets, Timestamp } from '@tufjs/models';
import * as z from 'zod';
import type { Clock } from '../../lib/clock.ts';
import { readFileBounded, readTextBounded } from '../../lib/files.ts';
import { ReleaseConfig } from '../config/schema.ts';
import { signingError } from '../errors.ts';
import type { KeyRing } from '../keys/signer.ts';
import type { LogAnchor } from './event-log.ts';
import {
  delegatedRoles,
  layout,
  metadataName,
  type DelegatedRole,
  type Layout,
  type Role,
} from './layout.ts';
import { withRepositoryLock } from './repository-lock.ts';
import { MAX_METADATA_BYTES, parseMetadata } from './role-metadata.ts';
import { verifyDelegate, type AnyMetadata } from './verify-delegate.ts';

/** What every release function is given. */
export interface ReleaseContext {
  /** The repository directory. */
  directory: string;
  keys: KeyRing;
  clock: Clock;
  /** Who runs it, for the log; a plain word. */
  actor?: string | undefined;
  /** How long to wait for another command on the same repository, default 30. */
  lockWaitSeconds?: number | undefined;
  /** Called before each durable step with its name; progress, and a place for tests to fail. */
  onStep?: ((step: string) => void) | undefined;
}

/** `repository.json`: what the managers' tools know besides the signed metadata. */
export const RepositoryState = z.object({
  schema: z.literal(1),
  createdAt: z.string(),
  config: ReleaseConfig,
  keyNames: z.record(z.string(), z.string()).describe('Key id -> name of the key.'),
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
  files: Layout;
  state: RepositoryState;
  root: RoleFile<Root>;
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
  await readState(context.directory);
  const { lockFile } = layout(context.directory);
  return withRepositoryLock(
    { file: lockFile, clock: context.clock, waitSeconds: context.lockWaitSeconds },
    async () => run(await openRepository(context)),
  );
}

/** Opens a repository without its lock, for reading. Errors as {@link withRepository}. */
export async function openRepository(context: ReleaseContext): Promise<Repository> {
  const files = layout(context.directory);
  const state = await readState(context.directory);
  const published = await readPublished(files);
  const versions = await newestVersions(files, published);
  const root = await readRole(files, 'root', versions);
  verifyOwn(root.metadata, 'root', root.metadata, files);
  if (published) {
    verifyOwn(root.metadata, 'timestamp', published.timestamp, files);
    verifyOwn(root.metadata, 'snapshot', published.snapshot, files);
  }
  const targets = await readRole(files, 'targets', versions);
  verifyOwn(root.metadata, 'targets', targets.metadata, files);
  const roles: Partial<Record<DelegatedRole, RoleFile>> = {};
  for (const role of delegatedRoles) {
    const file = await readRole(files, role, versions);
    verifyOwn(targets.metadata, role, file.metadata, files);
    roles[role] = file;
  }
  return {
    context,
    files,
    state,
    root,
    targets,
    roles: roles as Record<DelegatedRole, RoleFile>,
    published,
    anchor: published ? anchorOf(published.timestamp) : null,
  };
}

/** Keys and threshold of a role, as its delegator says. */
export function authorityOf(
  repository: { root: { metadata: Metadata<Root> }; targets: { metadata: Metadata<Targets> } },
  role: Role,
): { keyIds: string[]; threshold: number; keys: Record<string, Key> } {
  const root = repository.root.metadata.signed;
  const delegations = repository.targets.metadata.signed.delegations;
  const delegated = (delegatedRoles as readonly string[]).includes(role);
  const found = delegated ? delegations?.roles?.[role] : root.roles[role];
  if (!found) {
    throw signingError({
      code: 'E_REPOSITORY_UNREADABLE',
      message: `The repository knows no role "${role}".`,
      where: delegated ? 'targets metadata' : 'root metadata',
      fix: 'Make the repository again with this version of the program.',
    });
  }
  return {
    keyIds: found.keyIDs,
    threshold: found.threshold,
    keys: (delegated ? delegations?.keys : root.keys) ?? {},
  };
}

/** @throws E_REPOSITORY_MISSING, E_REPOSITORY_UNREADABLE. */
export async function readState(directory: string): Promise<RepositoryState> {
  const { stateFile } = layout(directory);
  let text: string;
  try {
    text = await readTextBounded(stateFile);
  } catch (error) {
    const missing = (error as { code?: string }).code === 'E_FILE_MISSING';
    throw signingError({
      code: missing ? 'E_REPOSITORY_MISSING' : 'E_REPOSITORY_UNREADABLE',
      message: missing ? 'There is no release repository here.' : 'The repository cannot be read.',
      where: directory,
      fix: missing
        ? 'Name it with --repo, or make one with "pilotage release init".'
        : 'Check the owner and mode of the directory.',
      cause: error,
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const parsed = RepositoryState.safeParse(value);
  if (parsed.success) return parsed.data;
  throw signingError({
    code: 'E_REPOSITORY_UNREADABLE',
    message: `The state of the repository is not valid: ${parsed.error.issues[0]!.path.join('.')}: ${parsed.error.issues[0]!.message}.`,
    where: stateFile,
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

async function readPublished(files: Layout): Promise<Published | null> {
  const path = join(files.metadataDirectory, 'timestamp.json');
  let timestampBytes: Buffer;
  try {
    timestampBytes = await readFileBounded(path, MAX_METADATA_BYTES);
  } catch (error) {
    if ((error as { code?: string }).code === 'E_FILE_MISSING') return null;
    throw error;
  }
  const timestamp = parseMetadata('timestamp', timestampBytes, path);
  const snapshotPath = join(
    files.metadataDirectory,
    metadataName('snapshot', timestamp.signed.snapshotMeta.version),
  );
  const snapshotBytes = await readFileBounded(snapshotPath, MAX_METADATA_BYTES);
  return {
    timestamp,
    timestampBytes,
    snapshot: parseMetadata('snapshot', snapshotBytes, snapshotPath),
    snapshotBytes,
  };
}

type Versions = Map<string, { version: number; staged: boolean }>;

async function newestVersions(files: Layout, published: Published | null): Promise<Versions> {
  const newest: Versions = new Map();
  const offer = (role: string, version: number, staged: boolean) => {
    if (version > (newest.get(role)?.version ?? 0)) newest.set(role, { version, staged });
  };
  for (const [name, meta] of Object.entries(published?.snapshot.signed.meta ?? {})) {
    offer(name.replace(/\.json$/, ''), meta.version, false);
  }
  for (const { role, version } of await versionedNames(files.metadataDirectory)) {
    if (role === 'root') offer(role, version, false);
  }
  for (const { role, version } of await versionedNames(files.stagedDirectory)) offer(role, version, true);
  return newest;
}

/** `N.<role>.json` names in a directory; nothing when there is none. */
export async function versionedNames(
  directory: string,
): Promise<{ name: string; role: string; version: number }[]> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return names.flatMap(name => {
    const match = /^([1-9][0-9]{0,8})\.([a-z][a-z0-9-]*)\.json$/.exec(name);
    return match ? [{ name, role: match[2]!, version: Number(match[1]) }] : [];
  });
}

async function readRole(files: Layout, role: 'root', versions: Versions): Promise<RoleFile<Root>>;
async function readRole(
  files: Layout,
  role: 'targets' | DelegatedRole,
  versions: Versions,
): Promise<RoleFile>;
async function readRole(files: Layout, role: Role, versions: Versions): Promise<RoleFile<Root> | RoleFile> {
  const newest = versions.get(role);
  if (!newest) {
    throw signingError({
      code: 'E_REPOSITORY_UNREADABLE',
      message: `The repository has no metadata of the role "${role}".`,
      where: files.metadataDirectory,
      fix: 'Restore the repository from a mirror or backup.',
    });
  }
  const directory = newest.staged ? files.stagedDirectory : files.metadataDirectory;
  const path = join(directory, metadataName(role, newest.version));
  const bytes = await readFileBounded(path, MAX_METADATA_BYTES);
  const metadata =
    role === 'root' ? parseMetadata('root', bytes, path) : parseMetadata('targets', bytes, path);
  return { metadata, bytes, staged: newest.staged } as RoleFile;
}

const verifyOwn = (
  delegator: Metadata<Root> | Metadata<Targets>,
  role: Role,
  metadata: AnyMetadata,
  files: Layout,
): void =>
  verifyDelegate(delegator, role, metadata, {
    message: "The repository's own metadata is not signed as it must be",
    where: join(files.metadataDirectory, metadataName(role, metadata.signed.version)),
    rule: 'a role is amended only when its present version is properly signed',
    fix: 'Restore the repository from a mirror or backup.',
  });
