import { join, relative } from 'node:path';
import { PilotageError } from '../../lib/errors.ts';
import type { Refusal } from '../../lib/errors.ts';
import { compareVersions } from '../../signing/release/channels/compare-versions.ts';
import { chooseRelease } from './choose-release.ts';
import type { Choice, Place } from './choose-release.ts';
import { withClient } from './client.ts';
import type { ClientOptions } from './client.ts';
import { noteUse } from './node-store.ts';
import { viewOfNode } from './node-view.ts';
import type { View } from './refresh.ts';

export interface CheckOptions extends ClientOptions {
  /** Version of the release that runs. */
  mine?: string;
  /**
   * sha256 of the archives it runs from, beside the Node that runs this: their directories are marked as used, so that
   * nobody makes room by them.
   */
  using?: readonly string[];
}

export interface CheckedRelease {
  channel: string;
  channelSerial: number;
  /** What the queue's channel names now for this node; null when there is nothing that it may start. */
  version: string | null;
  sha256: string | null;
  /** True: `mine` was withdrawn, or is below the channel's least version. End after the payload. */
  mineYanked: boolean;
  /** True: `mine` is to end at once. */
  mineKilled: boolean;
  metadata: Record<string, number>;
  /** The cache that was asked; `local` when another process of this node asked a moment ago. */
  cache: string;
  /** Every cache that gave other bytes than were signed. */
  refusals: Refusal[];
}

/**
 * Asks, by metadata only, which release the queue's channel names now and whether the running one was withdrawn; for
 * pilots between two payloads, who keep one {@link PathHealth} and give the newest floors they know. A release that is
 * merely no longer current is not withdrawn.
 *
 * @throws what {@link viewOfNode} throws through every cache; `refusals` of the error names each that lied.
 */
export async function checkRelease(options: CheckOptions): Promise<CheckedRelease> {
  const { mine, using = [] } = options;
  return withClient(options, async ({ store, refresh, place, through }) => {
    const [runtime = ''] = relative(store.unpackedDirectory, process.execPath).split('/');
    await Promise.all(
      [...using, runtime].filter(isArchive).map(sha256 => noteUse(join(store.unpackedDirectory, sha256))),
    );
    const { value: view, refusals } = await through(source => viewOfNode(refresh, source, plainView));
    const { yanked, kill, min_version: least, serial } = view.pointer;
    const below = mine !== undefined && least !== null && compareVersions(mine, least) < 0;
    const mineKilled = mine !== undefined && kill.includes(mine);
    const choice = choiceOrNone(view, place());
    return {
      channel: view.channel,
      channelSerial: serial,
      version: choice?.version ?? null,
      sha256: choice?.pilot.sha256 ?? null,
      mineYanked: mineKilled || below || (mine !== undefined && yanked.includes(mine)),
      mineKilled,
      metadata: view.versions,
      cache: view.source.cache,
      refusals,
    };
  });
}

const isArchive = (name: string): boolean => /^[0-9a-f]{64}$/.test(name);

const plainView = (view: View): Promise<View> => Promise.resolve(view);

/** A channel whose release was withdrawn, or is not for this node, is an answer too. */
function choiceOrNone(view: View, place: Place): Choice | undefined {
  try {
    return chooseRelease(view.pointer, place, view.pointerWhere);
  } catch (error) {
    if (error instanceof PilotageError) return undefined;
    throw error;
  }
}
