import { join } from 'node:path';
import { request } from 'undici';
import { libError, PilotageError } from '../../lib/errors.ts';
import { readFileBounded } from '../../lib/files.ts';
import {
  channels,
  channelTarget,
  delegatedRoles,
  hashedTargetPath,
  metadataName,
  QUEUES_TARGET,
} from '../../signing/release/layout.ts';
import { MAX_METADATA_BYTES, parseMetadata } from '../../signing/release/role-metadata.ts';
import type { MetadataBytes } from '../../signing/release/verify-metadata.ts';

/** Reads a file of the code store's public layout; null where there is none. */
export type StoreReader = (path: string) => Promise<Buffer | null>;

const MAX_ROOTS = 1024;
const DEADLINE_MS = 10_000;

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

/** Over HTTP, past every cache on the way. */
export const urlReader =
  (baseUrl: string): StoreReader =>
  async path => {
    const url = `${baseUrl.replace(/\/+$/, '')}/${path}`;
    const signal = AbortSignal.timeout(DEADLINE_MS);
    const { statusCode, body } = await request(url, {
      headers: { 'cache-control': 'no-cache' },
      reset: true,
      signal,
    });
    if (statusCode === 404) {
      await body.dump();
      return null;
    }
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of body as AsyncIterable<Buffer>) {
      size += part.length;
      if (size > MAX_METADATA_BYTES) throw unreadable(url, 'it is larger than metadata may be');
      parts.push(part);
    }
    if (statusCode !== 200) throw unreadable(url, `the answer is ${statusCode}`);
    return Buffer.concat(parts);
  };

const unreadable = (where: string, why: string) =>
  libError({
    code: 'E_UNREACHABLE',
    message: `The code store's metadata cannot be read: ${why}.`,
    where,
    fix: 'Check "store" in the configuration, and that the store runs.',
  });

/** Gathers what `verifyMetadata` judges, from the trusted root on; judges nothing. @throws E_UNREACHABLE, E_TUF_FORMAT. */
export async function readReleaseMetadata(read: StoreReader, trustedRoot: Buffer): Promise<MetadataBytes> {
  const need = async (path: string) => {
    const bytes = await read(path);
    if (!bytes) throw unreadable(path, 'there is no such file');
    return bytes;
  };
  const roots: Buffer[] = [trustedRoot];
  let { version } = parseMetadata('root', trustedRoot, 'root.json').signed;
  while (roots.length < MAX_ROOTS) {
    const next = await read(`metadata/${metadataName('root', (version += 1))}`);
    if (!next) break;
    roots.push(next);
  }
  const timestamp = await need('metadata/timestamp.json');
  const { snapshotMeta } = parseMetadata('timestamp', timestamp, 'timestamp.json').signed;
  const snapshot = await need(`metadata/${metadataName('snapshot', snapshotMeta.version)}`);
  const { meta } = parseMetadata('snapshot', snapshot, 'snapshot.json').signed;
  const role = (name: string) => need(`metadata/${metadataName(name, meta[`${name}.json`]?.version ?? 0)}`);
  const roles: Record<string, Buffer> = {};
  const files: Record<string, Buffer> = {};
  const wanted = new Set<string>([...channels.map(channelTarget), QUEUES_TARGET]);
  for (const name of delegatedRoles) {
    const bytes = (roles[name] = await role(name));
    const { targets } = parseMetadata('targets', bytes, `${name}.json`).signed;
    for (const [path, target] of Object.entries(targets)) {
      if (!wanted.has(path)) continue;
      files[path] = await need(`targets/${hashedTargetPath(path, target.hashes.sha256 ?? '')}`);
    }
  }
  return { roots, timestamp, snapshot, targets: await role('targets'), roles, files };
}
