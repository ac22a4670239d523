import { lstat, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError } from '../../lib/errors.ts';
import { ChannelPointer } from '../../lib/protocol/release.ts';

/** One thing that takes room in a node's store. */
export interface StoreEntry {
  /** Below the store: `unpacked/<sha256>`, `objects/<sha256>`, `tmp.…`. */
  path: string;
  kind: 'release' | 'object' | 'leftover';
  bytes: number;
  usedMs: number;
  /** Why it is not removed to make room; null: it may be. */
  keptBecause: 'named by a channel' | 'used within the hour' | 'being made' | null;
}

/** Metadata of a root or a queue that nobody started from for so long keeps nothing in the store. */
const FORGOTTEN_MS = 30 * 86_400_000;
const RECENT_MS = 3_600_000;
/** What a process leaves behind that was killed; the wrapper waits as long. */
const LEFTOVER_MS = 86_400_000;
const MAX_FILE_BYTES = 5_000_000;

/**
 * Everything in a node's store but the metadata, with what must stay: `current` and `previous` of every channel pointer
 * under every pinned root, what wrappers noted as theirs (`state-*`), and what was used within the hour. Nothing here is
 * verified: it decides only what is removed.
 *
 * @throws E_FILE_MISSING, E_PERMISSION naming the directory.
 */
export async function storeContents(directory: string, nowMs: number): Promise<StoreEntry[]> {
  const named = await namedByMetadata(join(directory, 'metadata'), join(directory, 'objects'), nowMs);
  const entries: StoreEntry[] = [];
  const add = async (path: string, kind: StoreEntry['kind']) => {
    const sized = await sizeOf(join(directory, path));
    if (sized === undefined) return;
    const age = nowMs - sized.usedMs;
    const name = path.slice(path.lastIndexOf('/') + 1);
    const keptBecause =
      kind === 'leftover'
        ? age > LEFTOVER_MS
          ? null
          : 'being made'
        : named.has(name)
          ? 'named by a channel'
          : age <= RECENT_MS
            ? 'used within the hour'
            : null;
    entries.push({ path, kind, ...sized, keptBecause });
  };
  for (const name of await namesIn(directory)) {
    if (/^(tmp|lock)\./.test(name)) await add(name, 'leftover');
  }
  for (const [parent, kind] of [
    ['unpacked', 'release'],
    ['objects', 'object'],
  ] as const) {
    for (const name of await namesIn(join(directory, parent), [])) {
      await add(`${parent}/${name}`, /^[0-9a-f]{64}$/.test(name) ? kind : 'leftover');
    }
  }
  return entries;
}

/** Names in a directory. @param otherwise what a missing directory gives; without it that is an error. */
async function namesIn(directory: string, otherwise?: string[]): Promise<string[]> {
  try {
    return (await readdir(directory)).toSorted();
  } catch (error) {
    if (otherwise !== undefined && (error as NodeJS.ErrnoException).code === 'ENOENT') return otherwise;
    throw fromSystemError(error, directory);
  }
}

/** The sha256s of archives and small targets that somebody may start from. */
async function namedByMetadata(metadata: string, objects: string, nowMs: number): Promise<Set<string>> {
  const named = new Set<string>();
  for (const pin of await namesIn(metadata, [])) {
    const lastRefresh = await lstat(join(metadata, pin, 'timestamp.json')).catch(() => undefined);
    if (lastRefresh === undefined || nowMs - lastRefresh.mtimeMs > FORGOTTEN_MS) continue;
    for (const name of await namesIn(join(metadata, pin), [])) {
      const file = join(metadata, pin, name);
      const info = await lstat(file).catch(() => undefined);
      if (info?.isFile() !== true || info.size > MAX_FILE_BYTES) continue;
      if (name.startsWith('state-')) {
        if (nowMs - info.mtimeMs > FORGOTTEN_MS) continue;
        for (const sha256 of (await readText(file)).match(/\b[0-9a-f]{64}\b/g) ?? []) named.add(sha256);
      } else if (name.endsWith('.json')) {
        for (const sha256 of await smallTargets(file)) {
          named.add(sha256);
          for (const archive of await archivesOf(join(objects, sha256))) named.add(archive);
        }
      }
    }
  }
  return named;
}

/** Queue maps and channel pointers that a role names. */
async function smallTargets(file: string): Promise<string[]> {
  const { signed } = parse(await readText(file)) as {
    signed?: { targets?: Record<string, { hashes?: { sha256?: string } }> };
  };
  return Object.entries(signed?.targets ?? {})
    .filter(([path]) => /^(channels|queues)\/[a-z0-9-]+\.json$/.test(path))
    .map(([, target]) => target.hashes?.sha256 ?? '');
}

async function archivesOf(pointer: string): Promise<string[]> {
  const { data } = ChannelPointer.safeParse(parse(await readText(pointer)));
  const builds = [data?.current, data?.previous].filter(build => build !== null && build !== undefined);
  return builds.flatMap(({ pilot, runtimes }) => [
    pilot.sha256,
    ...Object.values(runtimes).map(r => r.sha256),
  ]);
}

const readText = (file: string): Promise<string> => readFile(file, 'utf8').catch(() => '');

function parse(text: string): unknown {
  try {
    return (JSON.parse(text) as unknown) ?? {};
  } catch {
    return {};
  }
}

/** Bytes of a file or a whole tree; undefined when it is gone meanwhile. */
async function sizeOf(path: string): Promise<{ bytes: number; usedMs: number } | undefined> {
  const info = await lstat(path).catch(() => undefined);
  if (info === undefined) return undefined;
  const sized = { bytes: info.size, usedMs: info.mtimeMs };
  if (!info.isDirectory()) return sized;
  for (const name of await readdir(path).catch(() => [])) {
    sized.bytes += (await sizeOf(join(path, name)))?.bytes ?? 0;
  }
  return sized;
}
