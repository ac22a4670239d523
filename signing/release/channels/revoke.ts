import { PilotageError } from '../../../lib/errors.ts';
import type { ChannelPointer } from '../../../lib/protocol/release.ts';
import { signingError } from '../../errors.ts';
import { removeTargets, watchProposals } from '../repository/amend-role.ts';
import {
  channelNamed,
  drawSeed,
  isUsable,
  readPointer,
  stagePointer,
  type Build,
} from './channel-pointer.ts';
import { describeChannel } from './describe-channel.ts';
import { buildNamed, releasedVersions } from '../builds/find-build.ts';
import { channels, channelTarget, type Channel } from '../layout.ts';
import { withRepository, type ReleaseContext, type Repository } from '../repository/repository.ts';

export interface RevokeResult {
  version: string;
  /** Channels that have a pointer, and what nodes do once it is public. */
  channels: RevokedChannel[];
  /**
   * What became of the build in `releases`: removed now; not there (any more); kept, since other channels may use it; or
   * it waits for the channels that others have to sign, and running the command again removes it; or its removal is
   * proposed.
   */
  releases: 'removed' | 'absent' | 'kept' | 'waits' | 'proposed';
  /** False: everything was so already and nothing was signed. */
  changed: boolean;
}

export interface RevokedChannel {
  channel: Channel;
  /** `unchanged`: it was so already; `proposed`: it waits for more signatures. */
  state: 'signed' | 'proposed' | 'unchanged';
  pointer: ChannelPointer;
  effect: string;
}

export interface RevokeOptions {
  version: string;
  /** Running pilots of it end at once, payload included. */
  kill?: boolean;
  /** Release that takes its place, default the previous one of each channel. */
  to?: string;
  /** Only these channels; the build then stays in `releases`. Default all. */
  channels?: readonly string[];
  keyNames?: readonly string[];
}

/**
 * Withdraws a release: into `yanked` of every channel, `current` and `previous` moved off it, out of `releases`; staged as
 * one set for one publish. Pointers come first, so that what a crash leaves staged is safe to publish; running it again
 * completes it. A channel whose keys are not here does not hold up the others.
 *
 * @throws E_VERSION_UNKNOWN when neither `releases` nor a pointer knows it; E_CHANNEL_UNKNOWN, E_CHANNEL_INVALID. When
 * some role could not be signed, its error (E_THRESHOLD_NOT_MET, E_KEY_MISSING, E_PASSPHRASE_WRONG) after everything else
 * was staged; its message says what was.
 */
export const revoke = (context: ReleaseContext & RevokeOptions): Promise<RevokeResult> =>
  withRepository(context, repository => revokeLocked(repository, context));

async function revokeLocked(repository: Repository, options: RevokeOptions): Promise<RevokeResult> {
  const { version } = options;
  const wanted = options.channels === undefined ? channels : options.channels.map(channelNamed);
  const pointers = new Map<Channel, ChannelPointer>();
  for (const channel of channels) {
    const pointer = await readPointer(repository, channel);
    if (pointer) pointers.set(channel, pointer);
  }
  requireKnown(repository, version, [...pointers.values()]);
  const next = [...pointers]
    .filter(([channel]) => wanted.includes(channel))
    .map(([channel, before]) => ({ channel, before, pointer: withdraw(repository, before, options) }));
  const failures: Failure[] = [];
  const result: RevokeResult = { version, channels: [], releases: 'kept', changed: false };
  for (const { channel, before, pointer } of next) {
    let state: RevokedChannel['state'] = 'unchanged';
    if (pointer !== before) {
      const event = { action: 'revoke', details: { revoked: version, kill: options.kill ? 1 : 0 } };
      const sign = () => stagePointer(repository, before, pointer, event, options);
      const signed = await attempt(failures, channel, sign);
      if (!signed) continue;
      state = signed;
    }
    const effect = describeChannel(pointer, repository.context.clock.now());
    result.channels.push({ channel, state, pointer, effect });
  }
  if (options.channels === undefined && failures.length === 0) {
    // Only when no pointer leads there any more: what `releases` does not sign stops all clients of the channel.
    const waits = result.channels.some(({ state }) => state === 'proposed');
    const remove = () => removeBuild(repository, version, options.keyNames);
    result.releases = waits ? 'waits' : ((await attempt(failures, 'releases', remove)) ?? 'kept');
  }
  if (failures.length > 0) throw incomplete(version, result, failures);
  result.changed =
    ['removed', 'proposed'].includes(result.releases) ||
    result.channels.some(({ state }) => state !== 'unchanged');
  return result;
}

/** The pointer without the version; the same object when there is nothing to change. */
function withdraw(repository: Repository, before: ChannelPointer, options: RevokeOptions): ChannelPointer {
  const { version, kill = false } = options;
  const yanked = including(before.yanked, version);
  const killed = kill ? including(before.kill, version) : before.kill;
  const frame = { ...before, serial: before.serial + 1, yanked, kill: killed };
  let pointer: ChannelPointer = frame;
  if (before.current.version === version) {
    const previous =
      before.previous && isUsableIn(repository, frame, before.previous) ? before.previous : null;
    const current = replacement(repository, frame, options.to) ?? previous;
    if (!current) pointer = { ...frame, previous };
    else {
      pointer = {
        ...frame,
        current,
        previous: previous?.version === current.version ? null : previous,
        rollout: { percent: 100, seed: drawSeed(current.version), sites: [] },
        not_before: 0,
      };
    }
  } else if (before.previous?.version === version) {
    // The nodes outside the rollout ran it.
    pointer = { ...frame, previous: replacement(repository, frame, options.to) };
  }
  const same =
    yanked === before.yanked &&
    killed === before.kill &&
    pointer.current === before.current &&
    pointer.previous === before.previous;
  return same ? before : pointer;
}

/** With the runtimes that the channel has: a withdrawal changes no more than it must. */
function replacement(repository: Repository, pointer: ChannelPointer, to: string | undefined): Build | null {
  if (to === undefined) return null;
  const { current, previous, channel } = pointer;
  const here = [current, previous].find(build => build?.version === to);
  const build = here ?? buildNamed(repository, to, { runtimes: current.runtimes });
  if (isUsableIn(repository, pointer, build)) return build;
  throw signingError({
    code: 'E_CHANNEL_YANKED',
    message: `The release ${to} cannot take its place on the channel "${channel}": it was withdrawn itself, is below min_version, or is not signed whole.`,
    where: channelTarget(channel),
    found: to,
    fix: 'Name another release with --to.',
  });
}

const isUsableIn = (repository: Repository, pointer: ChannelPointer, build: Build): boolean =>
  isUsable(build, pointer, repository.roles.releases.metadata.signed.targets);

const including = (list: string[], word: string): string[] => (list.includes(word) ? list : [...list, word]);

async function removeBuild(
  repository: Repository,
  version: string,
  keyNames: readonly string[] | undefined,
): Promise<'removed' | 'absent' | 'proposed'> {
  const { targets } = repository.roles.releases.metadata.signed;
  const paths = Object.keys(targets).filter(path => path.startsWith(`pilot/${version}/`));
  if (paths.length === 0) return 'absent';
  const event = { action: 'revoke', details: { revoked: version } };
  const watched = watchProposals(repository);
  await removeTargets(watched.repository, 'releases', paths, event, keyNames);
  return watched.isProposed() ? 'proposed' : 'removed';
}

interface Failure {
  role: string;
  error: PilotageError;
}

/** Undefined when this role could not be signed; any other failure than one of ours ends everything, as a crash would. */
async function attempt<T>(failures: Failure[], role: string, sign: () => Promise<T>): Promise<T | undefined> {
  try {
    return await sign();
  } catch (error) {
    if (!(error instanceof PilotageError)) throw error;
    failures.push({ role, error });
    return undefined;
  }
}

function incomplete(version: string, result: RevokeResult, failures: Failure[]): PilotageError {
  const { role, error } = failures[0]!;
  const done = result.channels.filter(({ state }) => state !== 'proposed').map(({ channel }) => channel);
  const missing = failures.map(failure => failure.role).join(', ');
  const waits = role === 'releases' ? '' : '; it stays in releases until then';
  return new PilotageError({
    code: error.code,
    message: `The withdrawal of ${version} is signed for ${done.join(', ') || 'no channel'}, not for ${missing}${waits}: ${error.message}`,
    where: error.where ?? `role ${role}`,
    ...(error.expected === undefined ? {} : { expected: error.expected }),
    ...(error.found === undefined ? {} : { found: error.found }),
    ...(error.rule === undefined ? {} : { rule: error.rule }),
    fix: `Publish what is signed at once; then run the same command where enough keys of ${missing} are.`,
    cause: error,
  });
}

function requireKnown(repository: Repository, version: string, pointers: ChannelPointer[]): void {
  const known = new Set(releasedVersions(repository));
  for (const { current, previous, yanked } of pointers) {
    for (const name of [current.version, previous?.version ?? current.version, ...yanked]) known.add(name);
  }
  if (known.has(version)) return;
  throw signingError({
    code: 'E_VERSION_UNKNOWN',
    message: `Neither a channel nor the role releases knows a release ${version.slice(0, 100)}.`,
    where: 'role releases',
    expected: `one of ${[...known].slice(-20).join(', ') || 'none, nothing was added yet'}`,
    found: version.slice(0, 100),
    fix: 'Check the version: pilotage release history',
  });
}
