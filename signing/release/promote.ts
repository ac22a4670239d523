import { ChannelPointer, QueueChannels } from '../../lib/protocol/release.ts';
import { nearest } from '../../lib/config.ts';
import { signingError } from '../errors.ts';
import { stableJson } from '../stable-json.ts';
import { amendRole } from './amend-role.ts';
import { compareVersions } from './compare-versions.ts';
import { channels, channelTarget, pilotTarget, QUEUES_TARGET, type Channel } from './layout.ts';
import { withRepository, type ReleaseContext, type Repository } from './repository.ts';
import { readTarget, writeTarget } from './target-files.ts';

export interface PromoteResult {
  channel: Channel;
  version: string;
  serial: number;
  previous: string | null;
  /** Runtime version by architecture. */
  runtimes: Record<string, string>;
  /** False: the channel pointed there already. */
  promoted: boolean;
}

/**
 * Points a channel at a release: a new pointer of about 1 KiB, signed by as many managers as the channel needs. No other
 * bytes move. Staged until the next publish.
 *
 * @param context.version a release that was added; or `fromChannel`, whose present release and runtimes are taken.
 * @param context.runtimeVersion which Node runtime; without it the newest of each architecture.
 * @param context.keyNames who signs; without it, as many of the managers' keys that are here as are needed.
 * @throws E_VERSION_UNKNOWN, E_CHANNEL_UNKNOWN, E_CHANNEL_EMPTY, E_CHANNEL_YANKED, E_THRESHOLD_NOT_MET,
 * E_KEY_NOT_AUTHORIZED and what unlocking keys throws.
 */
export const promote = (
  context: ReleaseContext & {
    channel: string;
    version?: string;
    fromChannel?: string;
    runtimeVersion?: string;
    keyNames?: readonly string[];
  },
): Promise<PromoteResult> =>
  withRepository(context, async repository => {
    const channel = channelNamed(context.channel);
    const current =
      context.fromChannel === undefined
        ? buildNamed(repository, context.version ?? '', context.runtimeVersion)
        : await currentOf(repository, channelNamed(context.fromChannel));
    const old = await readPointer(repository, channel);
    const runtimes = Object.fromEntries(
      Object.entries(current.runtimes).map(([arch, artefact]) => [arch, artefact.version]),
    );
    const result = { channel, version: current.version, runtimes };
    if (old && stableJson(old.current).equals(stableJson(current))) {
      return { ...result, serial: old.serial, previous: old.previous?.version ?? null, promoted: false };
    }
    if (old?.yanked.includes(current.version)) {
      throw signingError({
        code: 'E_CHANNEL_YANKED',
        message: `The release ${current.version} was withdrawn from the channel "${channel}".`,
        where: channelTarget(channel),
        fix: 'Promote another release.',
      });
    }
    const pointer: ChannelPointer = {
      schema: 1,
      product: 'pilotage-pilot',
      channel,
      serial: (old?.serial ?? 0) + 1,
      current,
      previous: old?.current ?? null,
      min_version: old?.min_version ?? null,
      yanked: old?.yanked ?? [],
      kill: old?.kill ?? [],
      rollout: { percent: 100, seed: current.version, sites: [] },
      not_before: 0,
    };
    const target = await writeTarget(repository.storage, channelTarget(channel), stableJson(pointer));
    const details = {
      pilot: current.version,
      serial: pointer.serial,
      previous: old?.current.version ?? null,
    };
    await amendRole(repository, channel, [target], { action: 'promote', details }, context.keyNames);
    return { ...result, serial: pointer.serial, previous: details.previous, promoted: true };
  });

export interface QueueResult {
  serial: number;
  default: string;
  queues: Record<string, string>;
  changed: boolean;
}

/**
 * Says which channel a queue follows, in the signed queue map. Staged until the next publish.
 *
 * @param context.queue name of the queue; `default` for all queues that are not named.
 * @param context.channel `stable`, `canary`, `dev`; `default` takes the queue out of the map.
 * @throws E_QUEUE_INVALID, E_CHANNEL_UNKNOWN and as {@link promote}.
 */
export const setQueueChannel = (
  context: ReleaseContext & { queue: string; channel: string; keyNames?: readonly string[] },
): Promise<QueueResult> =>
  withRepository(context, async repository => {
    const { queue } = context;
    const removes = context.channel === 'default' && queue !== 'default';
    const channel = removes ? null : channelNamed(context.channel);
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(queue)) {
      throw signingError({
        code: 'E_QUEUE_INVALID',
        message: 'This is not a valid queue name.',
        where: 'queue',
        expected: 'letters, digits, dot, underscore, hyphen; at most 64',
        found: queue.slice(0, 100),
        fix: 'Correct the name.',
      });
    }
    const old = await readQueueMap(repository);
    const queues = Object.fromEntries(Object.entries(old.queues).filter(([name]) => name !== queue));
    if (channel !== null && queue !== 'default') queues[queue] = channel;
    const map: QueueChannels = {
      schema: 1,
      serial: old.serial + 1,
      default: queue === 'default' && channel !== null ? channel : old.default,
      queues,
    };
    const changed = !stableJson({ ...map, serial: old.serial }).equals(stableJson(old));
    if (!changed) return { serial: old.serial, default: old.default, queues: old.queues, changed };
    const target = await writeTarget(repository.storage, QUEUES_TARGET, stableJson(map));
    const details = { queue, channel: context.channel, serial: map.serial };
    await amendRole(repository, 'queues', [target], { action: 'queue', details }, context.keyNames);
    return { serial: map.serial, default: map.default, queues: map.queues, changed };
  });

/** The newest pointer of a channel, staged or public; null while it has none. */
export async function readPointer(repository: Repository, channel: Channel): Promise<ChannelPointer | null> {
  const target = repository.roles[channel].metadata.signed.targets[channelTarget(channel)];
  if (!target) return null;
  return ChannelPointer.parse(JSON.parse((await readTarget(repository.storage, target)).toString('utf8')));
}

/** The newest queue map, staged or public. */
export async function readQueueMap(repository: Repository): Promise<QueueChannels> {
  const target = repository.roles.queues.metadata.signed.targets[QUEUES_TARGET]!;
  return QueueChannels.parse(JSON.parse((await readTarget(repository.storage, target)).toString('utf8')));
}

export const isChannel = (name: string): name is Channel => (channels as readonly string[]).includes(name);

function channelNamed(name: string): Channel {
  if (isChannel(name)) return name;
  throw signingError({
    code: 'E_CHANNEL_UNKNOWN',
    message: `There is no channel "${name.slice(0, 100)}".`,
    where: 'channel',
    expected: channels.join(', '),
    found: name.slice(0, 100),
    fix: `Did you mean "${nearest(name.slice(0, 100), channels)}"?`,
  });
}

async function currentOf(repository: Repository, channel: Channel): Promise<ChannelPointer['current']> {
  const pointer = await readPointer(repository, channel);
  if (pointer) return pointer.current;
  throw signingError({
    code: 'E_CHANNEL_EMPTY',
    message: `The channel "${channel}" points at no release yet.`,
    where: channelTarget(channel),
    fix: `Promote a version to it: pilotage release promote VERSION ${channel}`,
  });
}

/** Pilot and runtimes as the `releases` role signed them; only from there does a hash enter a pointer. */
function buildNamed(
  repository: Repository,
  version: string,
  runtimeVersion: string | undefined,
): ChannelPointer['current'] {
  const { targets } = repository.roles.releases.metadata.signed;
  const pilot = targets[pilotTarget(version)];
  if (!pilot) {
    const known = Object.keys(targets).flatMap(path => /^pilot\/([^/]+)\//.exec(path)?.[1] ?? []);
    throw unknownVersion(
      `There is no release ${version.slice(0, 100)}.`,
      version,
      known,
      'release add TARBALL',
    );
  }
  const runtimes: ChannelPointer['current']['runtimes'] = {};
  const versionsSeen = new Set<string>();
  for (const [path, target] of Object.entries(targets)) {
    const match = /^runtime\/([^/]+)\/node-\1-(linux-[a-z0-9]+)\.tar\.gz$/.exec(path);
    if (!match) continue;
    const [, found, arch] = match as unknown as [string, string, string];
    versionsSeen.add(found);
    if (runtimeVersion !== undefined && found !== runtimeVersion) continue;
    const other = runtimes[arch];
    if (other && compareVersions(other.version, found) >= 0) continue;
    runtimes[arch] = { path, sha256: target.hashes.sha256!, version: found };
  }
  if (Object.keys(runtimes).length === 0) {
    const wanted = runtimeVersion === undefined ? 'no Node runtime' : `no Node runtime ${runtimeVersion}`;
    throw unknownVersion(
      `There is ${wanted} in the repository.`,
      runtimeVersion ?? 'none',
      [...versionsSeen],
      'release runtime TARBALL --node-version V --arch A',
    );
  }
  return { version, pilot: { path: pilot.path, sha256: pilot.hashes.sha256!, version }, runtimes };
}

const unknownVersion = (message: string, found: string, known: string[], command: string) =>
  signingError({
    code: 'E_VERSION_UNKNOWN',
    message,
    where: 'role releases',
    expected: known.length ? `one of ${known.slice(-20).join(', ')}` : 'none is there yet',
    found: found.slice(0, 100),
    fix: `Add it first: pilotage ${command}`,
  });
