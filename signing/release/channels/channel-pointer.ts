import { randomBytes } from 'node:crypto';
import type { TargetFile } from '@tufjs/models';
import { nearest } from '../../../lib/config.ts';
import { ChannelPointer } from '../../../lib/protocol/release.ts';
import { signingError } from '../../errors.ts';
import { stableJson } from '../../stable-json.ts';
import { amendRole, watchProposals } from '../repository/amend-role.ts';
import { compareVersions } from './compare-versions.ts';
import type { LogEntry } from '../repository/event-log.ts';
import { channels, channelTarget, type Channel } from '../layout.ts';
import { newestSeen } from '../repository/next-version.ts';
import type { Repository } from '../repository/repository.ts';
import { readTarget, writeTarget } from '../repository/target-files.ts';

/** A pilot and the runtimes it was promoted with. */
export type Build = ChannelPointer['current'];

export const isChannel = (name: string): name is Channel => (channels as readonly string[]).includes(name);

/** @throws E_CHANNEL_UNKNOWN. */
export function channelNamed(name: string): Channel {
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

/**
 * The newest pointer of a channel, staged or public; null while it has none. Its serial is the newest that clients may have
 * seen, after a restored backup that of {@link pastNames}.
 */
export async function readPointer(repository: Repository, channel: Channel): Promise<ChannelPointer | null> {
  const pointer = await signedPointer(repository, channel);
  if (!pointer) return null;
  return { ...pointer, serial: newestSeen(repository.state, `${channel}.serial`, pointer.serial) };
}

/** Whether clients may have seen a later serial than the one that is signed: then the same has to be signed once more. */
export const isOutrun = async (repository: Repository, pointer: ChannelPointer): Promise<boolean> =>
  (await signedPointer(repository, channelNamed(pointer.channel)))?.serial !== pointer.serial;

async function signedPointer(repository: Repository, channel: Channel): Promise<ChannelPointer | null> {
  const target = repository.roles[channel].metadata.signed.targets[channelTarget(channel)];
  if (!target) return null;
  const bytes = await readTarget(repository.storage, target);
  return ChannelPointer.parse(JSON.parse(bytes.toString('utf8')));
}

/** As {@link readPointer}. @throws E_CHANNEL_EMPTY. */
export async function pointerOf(repository: Repository, channel: Channel): Promise<ChannelPointer> {
  const pointer = await readPointer(repository, channel);
  if (pointer) return pointer;
  throw signingError({
    code: 'E_CHANNEL_EMPTY',
    message: `The channel "${channel}" points at no release yet.`,
    where: channelTarget(channel),
    fix: `Promote a version to it: pilotage release promote VERSION ${channel}`,
  });
}

/** The same pilot with the same runtimes. */
export const sameBuild = (a: Build, b: Build): boolean => stableJson(a).equals(stableJson(b));

/**
 * Whether a node could start a build by what the pointer says of it: not withdrawn, not below `min_version`, and every
 * byte of it signed by `releases`.
 */
export const isUsable = (
  build: Build,
  pointer: Pick<ChannelPointer, 'yanked' | 'min_version'>,
  signed: Readonly<Record<string, TargetFile>>,
): boolean =>
  !pointer.yanked.includes(build.version) &&
  (pointer.min_version === null || compareVersions(build.version, pointer.min_version) >= 0) &&
  unsignedPart(build, signed) === undefined;

/**
 * What nodes fall back on when another build takes the place of `current`: `current` itself once every node has it, else
 * what it was being rolled out over. A build that was halted half-way never comes back as the safe one.
 */
export function provenBuild(pointer: ChannelPointer, nowMs: number): Build | null {
  const { rollout, not_before: notBefore } = pointer;
  const everywhere = rollout.percent === 100 && rollout.sites.length === 0 && notBefore * 1000 <= nowMs;
  return everywhere ? pointer.current : pointer.previous;
}

/** A seed for the rollout of a new build, so that not always the same nodes go first. Plain ASCII, at most 64. */
export const drawSeed = (version: string): string =>
  `${version.slice(0, 47)}-${randomBytes(8).toString('hex')}`;

/**
 * Checks a new pointer, signs it and stages it for the next publish.
 *
 * @param before the pointer it follows; null for the first of a channel.
 * @param options.lowersFloor allows a lower `min_version` than before.
 * @returns `proposed`: it waits for more signatures.
 * @throws E_CHANNEL_INVALID naming the rule that it breaks; what signing throws.
 */
export async function stagePointer(
  repository: Repository,
  before: ChannelPointer | null,
  pointer: ChannelPointer,
  event: { action: string; details?: LogEntry['details'] },
  options: { keyNames?: readonly string[] | undefined; lowersFloor?: boolean | undefined } = {},
): Promise<'signed' | 'proposed'> {
  const { signed } = repository.roles.releases.metadata;
  checkPointer(before, pointer, signed.targets, options.lowersFloor ?? false);
  const path = channelTarget(pointer.channel);
  const target = await writeTarget(repository.storage, path, stableJson(pointer));
  const { percent, sites } = pointer.rollout;
  const details = {
    pilot: pointer.current.version,
    serial: pointer.serial,
    previous: pointer.previous?.version ?? null,
    percent,
    sites: sites.length,
    ...event.details,
  };
  const watched = watchProposals(repository);
  await amendRole(
    watched.repository,
    channelNamed(pointer.channel),
    [target],
    { action: event.action, details },
    options.keyNames,
  );
  return watched.isProposed() ? 'proposed' : 'signed';
}

/** The rules every pointer keeps, whatever command made it. @throws E_CHANNEL_INVALID. */
export function checkPointer(
  before: ChannelPointer | null,
  pointer: ChannelPointer,
  signed: Readonly<Record<string, TargetFile>>,
  lowersFloor: boolean,
): void {
  const refuse = (message: string, rule: string, expected: string, found: string): never => {
    throw signingError({
      code: 'E_CHANNEL_INVALID',
      message,
      where: channelTarget(pointer.channel),
      expected,
      found,
      rule,
      fix: 'Name other values; see "pilotage release channels" for what is in force.',
    });
  };
  const parsed = ChannelPointer.safeParse(pointer);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const field = issue.path.join('.');
    return refuse(`The pointer cannot have this ${field}.`, 'form of a pointer', issue.message, field);
  }
  const { current, previous, yanked, kill, min_version: least, serial } = pointer;
  if (serial !== (before?.serial ?? 0) + 1) {
    refuse('The serial must be the next one.', 'serial', `${(before?.serial ?? 0) + 1}`, `${serial}`);
  }
  const lost = before?.yanked.find(version => !yanked.includes(version));
  if (lost !== undefined) refuse('A withdrawn version stays withdrawn.', 'yanked', lost, 'not in it');
  const alive = kill.find(version => !yanked.includes(version));
  if (alive !== undefined) {
    refuse('Only a withdrawn version can be killed.', 'kill is part of yanked', yanked.join(', '), alive);
  }
  for (const build of [yanked.includes(current.version) ? null : current, previous]) {
    if (!build) continue;
    const missing = unsignedPart(build, signed);
    if (missing) {
      refuse(`The release ${build.version} is not signed.`, 'signed by releases', missing, 'another or none');
    }
  }
  if (previous && yanked.includes(previous.version)) {
    refuse('The previous release was withdrawn.', 'previous', 'not withdrawn', previous.version);
  }
  if (least !== null && !yanked.includes(current.version) && compareVersions(current.version, least) < 0) {
    refuse(
      'The release is below the least version of the channel.',
      'min_version',
      `${least} or later`,
      current.version,
    );
  }
  if (least !== null && !/^[0-9]/.test(least)) {
    refuse('The least version is no version.', 'min_version', 'a version such as 1.2.0', least);
  }
  const floor = before?.min_version ?? null;
  if (floor !== null && !lowersFloor && (least === null || compareVersions(least, floor) < 0)) {
    refuse(
      'The least version of a channel only goes up.',
      'min_version; --lower-min-version allows it',
      `${floor} or later`,
      least ?? 'none',
    );
  }
}

/** The first artefact of a build that `releases` does not sign by the same hash; undefined when it signs them all. */
const unsignedPart = (build: Build, signed: Readonly<Record<string, TargetFile>>): string | undefined =>
  [build.pilot, ...Object.values(build.runtimes)].find(
    ({ path, sha256 }) => !Object.hasOwn(signed, path) || signed[path]!.hashes.sha256 !== sha256,
  )?.path;
