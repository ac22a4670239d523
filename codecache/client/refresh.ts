import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TargetFile } from '@tufjs/models';
import type { Clock } from '../../lib/clock.ts';
import { PilotageError } from '../../lib/errors.ts';
import { writeFileAtomic } from '../../lib/files.ts';
import type { ChannelPointer, Floors } from '../../lib/protocol/release.ts';
import { signingError } from '../../signing/errors.ts';
import { verifyPointer, unknownTarget } from '../../signing/release/metadata/verify-pointer.ts';
import { checkFloors } from '../../signing/release/metadata/check-floors.ts';
import { channelTarget, hashedTargetPath, QUEUES_TARGET } from '../../signing/release/layout.ts';
import { checkTarget } from '../../signing/release/repository/target-files.ts';
import { channelOf } from './choose-release.ts';
import { isTooLong } from './download.ts';
import type { Downloads, Source } from './download.ts';
import type { NodeStore } from './node-store.ts';
import { metadataDirectory } from './updater/metadata-directory.ts';
import { Updater } from './updater/updater.ts';
import { urlOf } from './way.ts';

const MAX_POINTER_BYTES = 1 << 20;
const BELOW_FLOOR: ReadonlySet<string> = new Set(['E_TUF_STALE', 'E_CHANNEL_FLOOR']);

export interface RefreshOptions {
  store: NodeStore;
  trustedRoot: Uint8Array | string;
  queue: string;
  floors: Floors | null;
  clock: Clock;
  downloads: Downloads;
  signal?: AbortSignal | undefined;
  /** Root and timestamp were asked for on this node so shortly ago that they are not asked for again. */
  checkedJustNow?: boolean;
}

/** One consistent, verified view of the store through one cache. */
export interface View {
  source: Source;
  /** Whether root and timestamp were asked for. */
  asked: boolean;
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
export async function refreshThrough<T>(
  options: RefreshOptions,
  source: Source,
  use: (view: View) => Promise<T>,
): Promise<T> {
  return use(await viewThrough(options, source));
}

async function viewThrough(options: RefreshOptions, source: Source): Promise<View> {
  const at = (path: string) => urlOf(source, path);
  const updater = await Updater.open({
    store: metadataDirectory(options.store.metadataDirectory),
    trustedRoot: Buffer.from(options.trustedRoot),
    get: (file, maxBytes) => options.downloads.bytes(source, `metadata/${file}`, maxBytes),
    at,
    nowMs: options.clock.now(),
  });
  const asked = await updater.refresh({ checkedJustNow: options.checkedJustNow === true });
  const small = async (path: string) => smallTarget(options, source, path, await updater.find(path));
  try {
    checkFloors(updater.trusted, options.floors);
    const channel = channelOf(await small(QUEUES_TARGET), options.queue, at(`targets/${QUEUES_TARGET}`));
    const pointerPath = channelTarget(channel);
    const pointerWhere = at(`targets/${pointerPath}`);
    const pointer = verifyPointer(await small(pointerPath), channel, options.floors, pointerWhere);
    // So that the role that signs builds is among the versions, whether one of its builds is started or not.
    await updater.find(pointer.current.pilot.path);
    const versions = Object.fromEntries(
      [...updater.trusted.roles()].map(([role, { signed }]) => [role, signed.version]),
    );
    return { source, asked, channel, pointer, pointerWhere, versions, find: path => updater.find(path) };
  } catch (error) {
    // What was checked just now may still be older than what the server knows: then the cache is asked after all.
    if (asked || !(error instanceof PilotageError) || !BELOW_FLOOR.has(error.code)) throw error;
    return viewThrough({ ...options, checkedJustNow: false }, source);
  }
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
  const hashed = `targets/${hashedTargetPath(path, sha256)}`;
  const bytes = await options.downloads
    .bytes(source, hashed, Math.min(target.length, MAX_POINTER_BYTES))
    .catch((error: unknown) => {
      throw isTooLong(error) ? tooLong(urlOf(source, hashed), target) : error;
    });
  checkTarget(urlOf(source, hashed), target, bytes.length, hashOf(bytes));
  await writeFileAtomic(kept, bytes, { mode: 0o600 });
  return bytes;
}

const tooLong = (where: string, target: TargetFile) =>
  signingError({
    code: 'E_TARGET_LENGTH',
    message: `The target ${target.path} is longer than was signed; nothing of it was kept.`,
    where,
    expected: `${target.length} bytes`,
    found: 'more',
    fix: 'Use another cache, and look at the one that is named.',
  });

const hashOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
