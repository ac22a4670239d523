import type { ChannelPointer } from '../../../lib/protocol/release.ts';
import { signingError } from '../../errors.ts';
import { stableJson } from '../../stable-json.ts';
import {
  channelNamed,
  drawSeed,
  isOutrun,
  isUsable,
  pointerOf,
  provenBuild,
  readPointer,
  sameBuild,
  stagePointer,
  type Build,
} from './channel-pointer.ts';
import { buildNamed } from '../builds/find-build.ts';
import { channelTarget, type Channel } from '../layout.ts';
import { withRepository, type ReleaseContext, type Repository } from '../repository/repository.ts';

export interface PromoteResult {
  channel: Channel;
  version: string;
  serial: number;
  previous: string | null;
  /** Runtime version by architecture. */
  runtimes: Record<string, string>;
  /** The signed pointer that is now the newest. */
  pointer: ChannelPointer;
  /** False: the channel pointed there in this way already. */
  promoted: boolean;
  /** True: the pointer waits for more signatures. */
  proposed: boolean;
}

export interface PromoteOptions {
  channel: string;
  /** A release that was added; or `fromChannel`, whose present release and runtimes are taken. */
  version?: string;
  fromChannel?: string;
  /** Which Node runtime; without it the newest of each architecture. */
  runtimeVersion?: string;
  /** Share of the nodes that take the release, default 100; the others stay on the previous one. */
  percent?: number;
  /** Only nodes of these sites take part; default all. */
  sites?: readonly string[];
  /** Least version that nodes of the channel start from now on; stays as it was when not given. */
  minVersion?: string;
  /** Allows a lower `minVersion` than the one in force. */
  lowersFloor?: boolean;
  /** Epoch seconds before which nodes stay on the previous release, default 0. */
  notBefore?: number;
  /** Release that nodes outside the rollout run; default what the channel had everywhere before. */
  previous?: string;
  /** Who signs; without it, as many of the managers' keys that are here as are needed. */
  keyNames?: readonly string[];
}

/**
 * Points a channel at a release: a new pointer of about 1 KiB, signed by as many managers as the channel needs. No other
 * bytes move. The same release again with another percentage keeps its seed, so nodes that took part stay. Staged until
 * the next publish.
 *
 * @throws E_VERSION_UNKNOWN, E_CHANNEL_UNKNOWN, E_CHANNEL_EMPTY, E_CHANNEL_YANKED, E_CHANNEL_INVALID,
 * E_THRESHOLD_NOT_MET, E_KEY_NOT_AUTHORIZED and what unlocking keys throws.
 */
export const promote = (context: ReleaseContext & PromoteOptions): Promise<PromoteResult> =>
  withRepository(context, async repository => {
    const channel = channelNamed(context.channel);
    const current = await wantedBuild(repository, context);
    const before = await readPointer(repository, channel);
    if (before?.yanked.includes(current.version)) throw withdrawn(channel, current.version);
    const pointer = nextPointer(repository, context, channel, current, before);
    const same = before && stableJson({ ...pointer, serial: before.serial }).equals(stableJson(before));
    const promoted = !same || (await isOutrun(repository, before));
    const staged =
      promoted && (await stagePointer(repository, before, pointer, { action: 'promote' }, context));
    return {
      channel,
      version: current.version,
      serial: promoted ? pointer.serial : before.serial,
      previous: pointer.previous?.version ?? null,
      runtimes: Object.fromEntries(
        Object.entries(current.runtimes).map(([arch, artefact]) => [arch, artefact.version]),
      ),
      pointer: promoted ? pointer : before,
      promoted,
      proposed: staged === 'proposed',
    };
  });

async function wantedBuild(repository: Repository, options: PromoteOptions): Promise<Build> {
  const { fromChannel, version = '', runtimeVersion } = options;
  if (fromChannel === undefined) return buildNamed(repository, version, { runtimeVersion });
  const { channel, current, yanked } = await pointerOf(repository, channelNamed(fromChannel));
  if (yanked.includes(current.version)) throw withdrawn(channel, current.version);
  return current;
}

function nextPointer(
  repository: Repository,
  options: PromoteOptions,
  channel: Channel,
  current: Build,
  before: ChannelPointer | null,
): ChannelPointer {
  const again = before && sameBuild(before.current, current) ? before : null;
  const pointer: ChannelPointer = {
    schema: 1,
    product: 'pilotage-pilot',
    channel,
    serial: (before?.serial ?? 0) + 1,
    current,
    previous: null,
    min_version: options.minVersion ?? before?.min_version ?? null,
    yanked: before?.yanked ?? [],
    kill: before?.kill ?? [],
    rollout: {
      percent: options.percent ?? 100,
      seed: again?.rollout.seed ?? drawSeed(current.version),
      sites: [...new Set(options.sites)].sort(),
    },
    not_before: options.notBefore ?? 0,
  };
  if (options.previous !== undefined) {
    if (pointer.yanked.includes(options.previous)) throw withdrawn(channel, options.previous);
    const named = [before?.previous, before?.current].find(build => build?.version === options.previous);
    pointer.previous =
      named ?? buildNamed(repository, options.previous, { runtimeVersion: options.runtimeVersion });
    return pointer;
  }
  const usual = again ? again.previous : before && provenBuild(before, repository.context.clock.now());
  const { targets } = repository.roles.releases.metadata.signed;
  // One that no node could start is no previous release; going back to it leaves none either.
  if (usual && isUsable(usual, pointer, targets) && !sameBuild(usual, current)) pointer.previous = usual;
  return pointer;
}

const withdrawn = (channel: string, version: string) =>
  signingError({
    code: 'E_CHANNEL_YANKED',
    message: `The release ${version} was withdrawn from the channel "${channel}".`,
    where: channelTarget(channel),
    fix: 'Promote another release.',
  });
