import type { Refusal } from '../../lib/errors.ts';
import type { ReleaseRef } from '../../lib/protocol/release.ts';
import { sameBuild } from '../../signing/release/metadata/verify-pointer.ts';
import type { Artefact } from '../../signing/release/metadata/verify-pointer.ts';
import { chooseRelease } from './choose-release.ts';
import type { Choice } from './choose-release.ts';
import { withClient } from './client.ts';
import type { Client, ClientOptions } from './client.ts';
import type { Source } from './download.ts';
import { install } from './install.ts';
import type { Build } from './install.ts';
import { LOCAL, viewOfNode } from './node-view.ts';
import { offlineRelease } from './offline-release.ts';
import type { Offline } from './offline-release.ts';
import { DEFAULT_STORE_BYTES } from './prune-store.ts';
import type { View } from './refresh.ts';

export interface FetchOptions extends ClientOptions {
  /**
   * What is kept on the node may be started when no cache gives a valid refresh, as long as it expired no longer ago than
   * this. 0, the default: never.
   */
  offlineGraceSeconds?: number;
  /** Quota of the node's store, bytes, default 2 GiB; releases in use are kept beyond it. */
  maxStoreBytes?: number;
}

export interface FetchedRelease {
  release: ReleaseRef;
  /** Holds `pilot.mjs`; every file checked against its signed sha256 just now. */
  pilotDirectory: string;
  /** Holds `bin/node`; likewise. */
  runtimeDirectory: string;
  /** The cache it was verified through; `local` when all was on the node and checked by somebody a moment ago. */
  cache: string;
  /** Every cache that gave other bytes than were signed. */
  refusals: readonly Refusal[];
  /** Present when it runs on what was kept, by policy. */
  offline?: Offline;
}

/** Name of the product that channel pointers carry. */
const PRODUCT = 'pilotage-pilot';

/**
 * Brings the release that the queue's channel names onto this node: metadata verified through one cache at a time,
 * pilot and runtime downloaded once per node, checked, unpacked, and checked again on every later use.
 *
 * @throws what {@link viewOfNode} throws, and E_CHANNEL_YANKED, E_CHANNEL_HALTED, E_ARCHIVE_UNSAFE, E_STORE_UNSAFE,
 *   E_STORE_LOCKED, E_ARCH_UNSUPPORTED, E_DISK_FULL; nothing is unpacked then. `refusals` of the error names each cache that
 *   lied.
 */
export async function fetchRelease(options: FetchOptions): Promise<FetchedRelease> {
  return withClient(options, async client => {
    try {
      const { value, refusals } = await client.through(source => bring(client, options, source));
      return { ...value, refusals };
    } catch (error) {
      const judged = (view: View) => judge(client, view);
      const kept = await offlineRelease(client, options.offlineGraceSeconds ?? 0, judged, error);
      return { ...describe(kept.judged, kept.directories), cache: LOCAL.cache, ...kept.result };
    }
  });
}

async function bring(client: Client, options: FetchOptions, source: Source) {
  const judged = await viewOfNode(client.refresh, source, view => judge(client, view));
  const { maxStoreBytes = DEFAULT_STORE_BYTES } = options;
  const { directories, fetched } = await install({ ...client, source, maxStoreBytes }, judged.builds);
  const cache = fetched ? source.cache : judged.view.source.cache;
  return { ...describe(judged, directories), cache };
}

/** What a view lets this node start. */
export interface Judged {
  view: View;
  choice: Choice;
  /** Pilot, then runtime. */
  builds: Build[];
}

async function judge(client: Client, view: View): Promise<Judged> {
  const choice = chooseRelease(view.pointer, client.place(), view.pointerWhere);
  const build = async (artefact: Artefact): Promise<Build> => ({
    artefact,
    target: sameBuild(artefact, await view.find(artefact.path), view.pointerWhere),
  });
  return { view, choice, builds: [await build(choice.pilot), await build(choice.runtime)] };
}

function describe({ view, choice }: Judged, [pilotDirectory, runtimeDirectory]: string[]) {
  const release: ReleaseRef = {
    name: PRODUCT,
    version: choice.version,
    sha256: choice.pilot.sha256,
    runtimeVersion: choice.runtime.version,
    channel: view.channel,
    channelSerial: view.pointer.serial,
    metadata: view.versions,
  };
  return { release, pilotDirectory: pilotDirectory!, runtimeDirectory: runtimeDirectory! };
}
