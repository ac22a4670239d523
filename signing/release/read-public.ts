import { join } from 'node:path';
import { readFileBounded } from '../../lib/files.ts';
import {
  channels,
  channelTarget,
  delegatedRoles,
  hashedTargetPath,
  metadataName,
  QUEUES_TARGET,
} from './layout.ts';
import { MAX_METADATA_BYTES, parseMetadata } from './role-metadata.ts';
import type { MetadataBytes } from './verify-metadata.ts';

const MAX_ROOTS = 1024;

/**
 * Gathers from a public directory what {@link verifyMetadata} needs; judges nothing.
 *
 * @param trustedRoot where to start; without it the directory's own first root, which proves nothing by itself.
 * @throws E_FILE_MISSING, E_TUF_FORMAT.
 */
export async function readPublicDirectory(
  directory: string,
  trustedRoot?: Uint8Array,
): Promise<MetadataBytes> {
  const metadata = (name: string) => readFileBounded(join(directory, 'metadata', name), MAX_METADATA_BYTES);
  const roots: Uint8Array[] = [trustedRoot ?? (await metadata('1.root.json'))];
  let version = parseMetadata('root', roots[0]!, 'root.json').signed.version;
  while (roots.length < MAX_ROOTS) {
    const next = await orMissing(metadata(metadataName('root', (version += 1))));
    if (next === null) break;
    roots.push(next);
  }
  const timestamp = await metadata('timestamp.json');
  const snapshotVersion = parseMetadata('timestamp', timestamp, 'timestamp.json').signed.snapshotMeta.version;
  const snapshot = await metadata(metadataName('snapshot', snapshotVersion));
  const { meta } = parseMetadata('snapshot', snapshot, 'snapshot').signed;
  const role = (name: string) => metadata(metadataName(name, meta[`${name}.json`]?.version ?? 0));
  const roles: Record<string, Uint8Array> = {};
  const files: Record<string, Uint8Array> = {};
  const wanted = new Set<string>([...channels.map(channelTarget), QUEUES_TARGET]);
  for (const name of delegatedRoles) {
    const bytes = (roles[name] = await role(name));
    const { targets } = parseMetadata('targets', bytes, `${name}.json`).signed;
    for (const [path, target] of Object.entries(targets)) {
      if (!wanted.has(path)) continue;
      const location = join(directory, 'targets', hashedTargetPath(path, target.hashes.sha256 ?? ''));
      files[path] = await readFileBounded(location, MAX_METADATA_BYTES);
    }
  }
  return { roots, timestamp, snapshot, targets: await role('targets'), roles, files };
}

async function orMissing<T>(promise: Promise<T>): Promise<T | null> {
  try {
    return await promise;
  } catch (error) {
    if ((error as { code?: string }).code === 'E_FILE_MISSING') return null;
    throw error;
  }
}
