import { join } from 'node:path';
import { PilotageError, libError } from '../../../lib/errors.ts';
import { readFileBounded } from '../../../lib/files.ts';
import {
  channels,
  channelTarget,
  delegatedRoles,
  hashedTargetPath,
  metadataName,
  places,
  QUEUES_TARGET,
} from '../layout.ts';
import { MAX_METADATA_BYTES, parseMetadata } from './role-metadata.ts';
import type { Storage } from '../storage/storage.ts';
import type { MetadataBytes } from './verify-metadata.ts';

/** Reads a file of the public layout by its path there, at most `MAX_METADATA_BYTES`; null where there is none. */
export type StoreReader = (path: string) => Promise<Uint8Array | null>;

const MAX_ROOTS = 1024;

/** From the public part of a repository. */
export const storageReader =
  (storage: Storage): StoreReader =>
  path =>
    storage.read(`${places.public}/${path}`, MAX_METADATA_BYTES);

/** From a directory on this machine. */
export const directoryReader =
  (directory: string): StoreReader =>
  async path => {
    try {
      return await readFileBounded(join(directory, path), MAX_METADATA_BYTES);
    } catch (error) {
      if (error instanceof PilotageError && error.code === 'E_FILE_MISSING') return null;
      throw error;
    }
  };

/**
 * Gathers from a public layout what {@link verifyMetadata} needs; judges nothing.
 *
 * @param options.where the directory or base URL that `read` reads, for messages.
 * @param options.trustedRoot where to start; without it the layout's own first root, which proves nothing by itself.
 * @throws E_FILE_MISSING, E_TUF_FORMAT; whatever `read` throws.
 */
export async function readReleaseMetadata(
  read: StoreReader,
  options: { where: string; trustedRoot?: Uint8Array | undefined },
): Promise<MetadataBytes> {
  const need = async (path: string) => (await read(path)) ?? missing(`${options.where}/${path}`);
  const metadata = (role: string, version: number) => need(`metadata/${metadataName(role, version)}`);
  const roots = [options.trustedRoot ?? (await metadata('root', 1))];
  let { version } = parseMetadata('root', roots[0]!, 'root.json').signed;
  while (roots.length < MAX_ROOTS) {
    const next = await read(`metadata/${metadataName('root', (version += 1))}`);
    if (!next) break;
    roots.push(next);
  }
  const timestamp = await metadata('timestamp', 0);
  const { snapshotMeta } = parseMetadata('timestamp', timestamp, 'timestamp.json').signed;
  const snapshot = await metadata('snapshot', snapshotMeta.version);
  const { meta } = parseMetadata('snapshot', snapshot, 'snapshot.json').signed;
  const role = (name: string) => metadata(name, meta[`${name}.json`]?.version ?? 0);
  const roles: Record<string, Uint8Array> = {};
  const files: Record<string, Uint8Array> = {};
  const wanted = new Set<string>([...channels.map(channelTarget), QUEUES_TARGET]);
  for (const name of delegatedRoles) {
    // A repository that was made before there was such a role.
    if (meta[`${name}.json`] === undefined) continue;
    const bytes = (roles[name] = await role(name));
    const { targets } = parseMetadata('targets', bytes, `${name}.json`).signed;
    for (const [path, target] of Object.entries(targets)) {
      if (!wanted.has(path)) continue;
      files[path] = await need(`targets/${hashedTargetPath(path, target.hashes.sha256 ?? '')}`);
    }
  }
  return { roots, timestamp, snapshot, targets: await role('targets'), roles, files };
}

/** As {@link readReleaseMetadata} from a directory on this machine. */
export const readPublicDirectory = (directory: string, trustedRoot?: Uint8Array): Promise<MetadataBytes> =>
  readReleaseMetadata(directoryReader(directory), { where: directory, trustedRoot });

function missing(where: string): never {
  throw libError({
    code: 'E_FILE_MISSING',
    message: 'The signed metadata names a file that is not there.',
    where,
    fix: 'Check that this is the public directory or base URL of a published code store.',
  });
}
