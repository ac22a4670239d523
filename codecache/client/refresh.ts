import { createHash } from 'node:crypto';
import { readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { TargetFile } from '@tufjs/models';
import { Updater } from 'tuf-js';
import type { Clock } from '../../lib/clock.ts';
import { writeFileAtomic } from '../../lib/files.ts';
import type { ChannelPointer, Floors } from '../../lib/protocol/release.ts';
import { signingError } from '../../signing/errors.ts';
import { parseMetadata } from '../../signing/release/role-metadata.ts';
import { CacheFetcher } from './cache-fetcher.ts';
import { channelOf, readPointer, unknownTarget } from './choose-release.ts';
import { isTooLong, urlOf } from './download.ts';
import type { Downloads, Source } from './download.ts';
import { judgeTufError } from './judge-tuf-error.ts';
import { withTrustedMetadata } from './node-store.ts';
import type { NodeStore } from './node-store.ts';

/** Local clocks may be this far behind the newest signed time, milliseconds; the wrapper allows the same. */
const CLOCK_TOLERANCE_MS = 300_000;
const MAX_POINTER_BYTES = 1 << 20;

export interface RefreshOptions {
  store: NodeStore;
  trustedRoot: Uint8Array | string;
  queue: string;
  floors: Floors | null;
  clock: Clock;
  downloads: Downloads;
  signal?: AbortSignal | undefined;
}

/** One consistent, verified view of the store through one cache. */
export interface View {
  source: Source;
  channel: string;
  pointer: ChannelPointer;
  /** File of the pointer, for errors. */
  pointerWhere: string;
  /** Version of every signed role in force. */
  versions: Record<string, number>;
  /** A signed target; E_TARGET_UNKNOWN is the caller's to throw. */
  find(path: string): Promise<TargetFile | undefined>;
}

/**
 * Refreshes all metadata through one cache and finds the queue's channel pointer; `use` may ask for further targets.
 *
 * @throws E_TUF_SIGNATURE, E_TUF_EXPIRED, E_TUF_STALE, E_TUF_ROLLBACK, E_TUF_HASH, E_TUF_FORMAT, E_TARGET_UNKNOWN,
 *   E_TARGET_HASH, E_TARGET_LENGTH, E_CHANNEL_MISMATCH, E_CHANNEL_FLOOR, E_CLOCK, E_CACHE_UNREACHABLE; each names file and cache.
 */
export const refreshThrough = <T>(
  options: RefreshOptions,
  source: Source,
  use: (view: View) => Promise<T>,
): Promise<T> =>
  withTrustedMetadata(options.store, options.trustedRoot, async directory => {
    const before = await onlineKeys(directory);
    const fetcher = new CacheFetcher(options.downloads, source, async () => {
      if ((await onlineKeys(directory)) === before) return;
      for (const role of ['timestamp', 'snapshot'])
        await rm(join(directory, `${role}.json`), { force: true });
    });
    const judged = async <V>(work: () => Promise<V>): Promise<V> => {
      try {
        return await work();
      } catch (error) {
        throw judgeTufError(error, fetcher, source.cache, options.signal);
      }
    };
    const updater = await judged(async () => openUpdater(directory, source, fetcher, options.clock));
    await judged(() => updater.refresh());
    await checkAgainstFloors(directory, options, source);
    const find = (path: string) => judged(() => updater.getTargetInfo(path));

    const mapPath = 'queues/channels.json';
    const map = await smallTarget(options, source, mapPath, await find(mapPath));
    const channel = channelOf(map, options.queue, urlOf(source, `targets/${mapPath}`));
    const pointerPath = `channels/${channel}.json`;
    const bytes = await smallTarget(options, source, pointerPath, await find(pointerPath));
    const pointerWhere = urlOf(source, `targets/${pointerPath}`);
    const pointer = readPointer(bytes, channel, options.floors, pointerWhere);
    const view: View = { source, channel, pointer, pointerWhere, versions: {}, find };
    for (const artefact of [pointer.current.pilot, ...Object.values(pointer.current.runtimes)]) {
      await find(artefact.path);
    }
    view.versions = await versionsIn(directory);
    return use(view);
  });

function openUpdater(directory: string, source: Source, fetcher: CacheFetcher, clock: Clock): Updater {
  const updater = new Updater({
    metadataDir: directory,
    metadataBaseUrl: urlOf(source, 'metadata'),
    targetBaseUrl: urlOf(source, 'targets'),
    fetcher,
    config: { rootMaxLength: 1 << 20, timestampMaxLength: 1 << 16 },
  });
  // The only way to give tuf-js the caller's clock: it reads the time once, when it is made.
  const { trustedSet } = updater as unknown as { trustedSet: { referenceTime: Date } };
  trustedSet.referenceTime = new Date(clock.now());
  return updater;
}

/**
 * Who signs timestamp and snapshot. After a new root changed that, what the old keys signed is dropped: it may be
 * fast-forwarded, and nothing newer would ever be accepted (TUF 1.0.31 section 5.3.11; tuf-js does not do it).
 */
async function onlineKeys(directory: string): Promise<string> {
  const root = parseMetadata('root', await readFile(join(directory, 'root.json')), 'root.json');
  const { timestamp, snapshot } = root.signed.roles;
  return JSON.stringify([timestamp?.keyIDs, snapshot?.keyIDs]);
}

async function checkAgainstFloors(directory: string, options: RefreshOptions, source: Source): Promise<void> {
  const { floors, clock } = options;
  const timestamp = JSON.parse(await readFile(join(directory, 'timestamp.json'), 'utf8')) as {
    signed: Record<string, unknown>;
  };
  const signedMs = Number(timestamp.signed['x-pilotage-signed-ms'] ?? 0);
  const newestMs = Math.max(signedMs, floors?.signedTimeMs ?? 0);
  if (clock.now() + CLOCK_TOLERANCE_MS < newestMs) {
    throw signingError({
      code: 'E_CLOCK',
      message: 'The clock of this machine is behind the time at which the metadata was signed.',
      where: urlOf(source, 'metadata/timestamp.json'),
      expected: `at least ${new Date(newestMs).toISOString()}`,
      found: new Date(clock.now()).toISOString(),
      fix: 'Set the clock of this machine.',
    });
  }
  const versions = await versionsIn(directory);
  for (const role of ['root', 'timestamp', 'snapshot'] as const) {
    const least = floors?.[role] ?? 0;
    if (versions[role]! >= least) continue;
    throw signingError({
      code: 'E_TUF_STALE',
      message: `The ${role} is older than the server knows it.`,
      where: urlOf(source, `metadata/${role}.json`),
      expected: `version ${least} or later`,
      found: `version ${versions[role]}`,
      fix: 'Use another cache: this one is behind or withholds the newer version.',
    });
  }
}

async function versionsIn(directory: string): Promise<Record<string, number>> {
  const versions: Record<string, number> = {};
  for (const name of await readdir(directory)) {
    const { signed } = JSON.parse(await readFile(join(directory, name), 'utf8')) as {
      signed: { version: number };
    };
    versions[name.slice(0, -'.json'.length)] = signed.version;
  }
  return versions;
}

/** A target of a few KiB, from the node's store or through the cache; verified either way. */
async function smallTarget(
  options: RefreshOptions,
  source: Source,
  path: string,
  target: TargetFile | undefined,
): Promise<Buffer> {
  if (target === undefined) throw unknownTarget(path, urlOf(source, `targets/${path}`));
  const sha256 = target.hashes.sha256 ?? '';
  const kept = join(options.store.objectsDirectory, sha256);
  const local = await readFile(kept).catch(() => undefined);
  if (local !== undefined && hashOf(local) === sha256) return local;
  const hashed = hashedPath(path, sha256);
  const bytes = await options.downloads
    .bytes(source, hashed, Math.min(target.length, MAX_POINTER_BYTES))
    .catch((error: unknown) => {
      throw isTooLong(error) ? wrongLength(urlOf(source, hashed), target.length, 'more') : error;
    });
  checkTarget(urlOf(source, hashed), target, bytes.length, hashOf(bytes));
  await writeFileAtomic(kept, bytes, { mode: 0o600 });
  return bytes;
}

/** `pilot/1/x` -> `targets/pilot/1/<sha256>.x` (consistent snapshot). */
export function hashedPath(path: string, sha256: string): string {
  const slash = path.lastIndexOf('/') + 1;
  return `targets/${path.slice(0, slash)}${sha256}.${path.slice(slash)}`;
}

/** @throws E_TARGET_LENGTH, E_TARGET_HASH naming the URL. */
export function checkTarget(where: string, target: TargetFile, bytes: number, sha256: string): void {
  if (bytes !== target.length) throw wrongLength(where, target.length, `${bytes} bytes`);
  if (sha256 === target.hashes.sha256) return;
  throw signingError({
    code: 'E_TARGET_HASH',
    message: 'The cache sent other bytes than were signed; nothing of them was kept.',
    where,
    expected: `sha256 ${target.hashes.sha256}`,
    found: `sha256 ${sha256}`,
    fix: 'Use another cache, and look at the one that is named.',
  });
}

const wrongLength = (where: string, expected: number, found: string) =>
  signingError({
    code: 'E_TARGET_LENGTH',
    message: 'The cache sent a file of another length than was signed; nothing of it was kept.',
    where,
    expected: `${expected} bytes`,
    found,
    fix: 'Use another cache, and look at the one that is named.',
  });

const hashOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
