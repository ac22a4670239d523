import { hostname } from 'node:os';
import { systemClock } from '../../lib/clock.ts';
import type { Clock } from '../../lib/clock.ts';
import { silentLog } from '../../lib/log.ts';
import type { Logger } from '../../lib/log.ts';
import type { Floors, ReleaseRef } from '../../lib/protocol/release.ts';
import { compareVersions } from '../../signing/release/compare-versions.ts';
import { sameBuild } from '../../signing/release/verify-pointer.ts';
import type { Artefact } from '../../signing/release/verify-pointer.ts';
import { chooseRelease } from './choose-release.ts';
import type { Place } from './choose-release.ts';
import { openDownloads } from './download.ts';
import type { Downloads, DownloadTimeouts } from './download.ts';
import { install } from './install.ts';
import type { Build } from './install.ts';
import { openNodeStore } from './node-store.ts';
import type { NodeStore } from './node-store.ts';
import { refreshThrough } from './refresh.ts';
import type { View } from './refresh.ts';
import { throughCaches } from './through-caches.ts';

export interface FetchOptions {
  /** The pinned root, bytes of `N.root.json`. */
  trustedRoot: Uint8Array | string;
  /** Node-local store, mode 0700; shared with the wrapper. */
  storeDirectory: string;
  /** Caches or origins, in order. */
  caches: readonly string[];
  queue: string;
  /** `linux-x64`; default this machine's. */
  arch?: string;
  /** Site of the queue, default `none`; with `node` it decides on which side of a rollout this is. */
  site?: string;
  /** Default the host name. */
  node?: string;
  floors?: Floors | null;
  clock?: Clock;
  signal?: AbortSignal;
  log?: Logger;
  timeouts?: DownloadTimeouts;
}

export interface FetchedRelease {
  release: ReleaseRef;
  /** Holds `pilot.mjs`; every file checked against its signed sha256 just now. */
  pilotDirectory: string;
  /** Holds `bin/node`; likewise. */
  runtimeDirectory: string;
  /** The cache it was verified through. */
  cache: string;
}

export interface CheckedRelease {
  channel: string;
  channelSerial: number;
  /** What the queue's channel names now for this architecture. */
  version: string;
  sha256: string;
  /** True: the version given as `mine` was withdrawn or is below the channel's least version. */
  mineYanked: boolean;
  metadata: Record<string, number>;
  cache: string;
}

/** Name of the product that channel pointers carry. */
const PRODUCT = 'pilotage-pilot';

/**
 * Brings the release that the queue's channel names onto this node: metadata verified through one cache at a time,
 * pilot and runtime downloaded once per node, checked, unpacked, and checked again on every later use.
 *
 * @throws what {@link refreshThrough} throws, and E_CHANNEL_YANKED, E_CHANNEL_HALTED, E_ARCHIVE_UNSAFE, E_STORE_UNSAFE, E_STORE_LOCKED,
 *   E_ARCH_UNSUPPORTED; nothing is unpacked then.
 */
export async function fetchRelease(options: FetchOptions): Promise<FetchedRelease> {
  return withClient(options, async client => {
    return client.through(async view => {
      const choice = chooseRelease(view.pointer, client.place(), view.pointerWhere);
      const build = async (artefact: Artefact): Promise<Build> => ({
        artefact,
        target: sameBuild(artefact, await view.find(artefact.path), view.pointerWhere),
      });
      const builds = [await build(choice.pilot), await build(choice.runtime)];
      const [pilotDirectory, runtimeDirectory] = await install({ ...client, source: view.source }, builds);
      const release: ReleaseRef = {
        name: PRODUCT,
        version: choice.version,
        sha256: choice.pilot.sha256,
        runtimeVersion: choice.runtime.version,
        channel: view.channel,
        channelSerial: view.pointer.serial,
        metadata: view.versions,
      };
      return {
        release,
        pilotDirectory: pilotDirectory!,
        runtimeDirectory: runtimeDirectory!,
        cache: view.source.cache,
      };
    });
  });
}

/**
 * Asks, by metadata only, which release the queue's channel names now and whether the running one was withdrawn; for
 * pilots between two payloads. Errors as {@link fetchRelease}.
 *
 * @param options.mine version of the running release.
 */
export async function checkRelease(options: FetchOptions & { mine?: string }): Promise<CheckedRelease> {
  return withClient(options, async client =>
    client.through(async view => {
      const choice = chooseRelease(view.pointer, client.place(), view.pointerWhere);
      const { yanked, min_version: least, serial } = view.pointer;
      const { mine } = options;
      const below = mine !== undefined && least !== null && compareVersions(mine, least) < 0;
      return {
        channel: view.channel,
        channelSerial: serial,
        version: choice.version,
        sha256: choice.pilot.sha256,
        mineYanked: mine !== undefined && (yanked.includes(mine) || below),
        metadata: view.versions,
        cache: view.source.cache,
      };
    }),
  );
}

interface Client {
  store: NodeStore;
  place(): Place;
  clock: Clock;
  log: Logger;
  downloads: Downloads;
  signal: AbortSignal | undefined;
  through<T>(use: (view: View) => Promise<T>): Promise<T>;
}

async function withClient<T>(options: FetchOptions, work: (client: Client) => Promise<T>): Promise<T> {
  const { trustedRoot, queue, signal, floors = null, clock = systemClock, log = silentLog } = options;
  const store = await openNodeStore(options.storeDirectory, trustedRoot);
  const downloads = openDownloads({ signal, ...(options.timeouts && { timeouts: options.timeouts }) });
  const refresh = { store, trustedRoot, queue, floors, clock, downloads, signal };
  try {
    return await work({
      store,
      place: () => ({
        arch: options.arch ?? `linux-${process.arch}`,
        nowMs: clock.now(),
        site: options.site ?? 'none',
        node: options.node ?? hostname(),
      }),
      clock,
      log,
      downloads,
      signal,
      through: use =>
        throughCaches({ caches: options.caches, log, signal }, source =>
          refreshThrough(refresh, source, use),
        ),
    });
  } finally {
    await downloads.close();
  }
}
