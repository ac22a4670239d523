import type { ChannelPointer } from '../../../lib/protocol/release.ts';
import { libError } from '../../../lib/errors.ts';
import { signingError } from '../../errors.ts';
import { channelNamed, isOutrun, isUsable, pointerOf, sameBuild, stagePointer } from './channel-pointer.ts';
import { readEventLog } from '../repository/event-log.ts';
import { channelTarget, type Channel } from '../layout.ts';
import { withRepository, type ReleaseContext, type Repository } from '../repository/repository.ts';

export interface HaltResult {
  channel: Channel;
  serial: number;
  pointer: ChannelPointer;
  /** False: it was so already, nothing was signed. */
  changed: boolean;
  /** True: the pointer waits for more signatures. */
  proposed: boolean;
}

/**
 * Stops a rollout: from the next publish on no node takes the channel's release, all start the one before. Running pilots
 * of it go on; {@link revoke} ends those as well.
 *
 * @throws E_CHANNEL_NO_PREVIOUS when there is nothing to go back to; E_CHANNEL_UNKNOWN, E_CHANNEL_EMPTY,
 * E_THRESHOLD_NOT_MET and what unlocking keys throws.
 */
export const halt = (
  context: ReleaseContext & { channel: string; keyNames?: readonly string[] },
): Promise<HaltResult> =>
  withRepository(context, async repository => {
    const channel = channelNamed(context.channel);
    const before = await pointerOf(repository, channel);
    const { percent } = before.rollout;
    if (percent === 0 && !(await isOutrun(repository, before))) return unchanged(channel, before);
    requirePrevious(repository, before);
    return setPercent(repository, before, 0, { action: 'halt', before: percent }, context.keyNames);
  });

/**
 * Takes a halted rollout up again, with the same nodes first.
 *
 * @param context.percent default what it was when it was halted, as the log tells.
 * @throws E_USAGE when it cannot be known, or when the channel is not halted and has another percentage; as {@link halt}.
 */
export const resume = (
  context: ReleaseContext & { channel: string; percent?: number; keyNames?: readonly string[] },
): Promise<HaltResult> =>
  withRepository(context, async repository => {
    const channel = channelNamed(context.channel);
    const before = await pointerOf(repository, channel);
    const { percent } = before.rollout;
    if (percent > 0 && (context.percent ?? percent) === percent) return unchanged(channel, before);
    if (percent > 0) {
      throw usage(
        `The channel "${channel}" is not halted; it is at ${percent} %.`,
        `Change the percentage with: pilotage release promote ${before.current.version} ${channel} --percent ${context.percent}`,
      );
    }
    const wanted = context.percent ?? (await percentBefore(repository, before));
    if (wanted === undefined || wanted === 0) {
      throw usage('The log does not tell at which percentage it was halted.', 'Name it with --percent.');
    }
    return setPercent(repository, before, wanted, { action: 'resume', before: 0 }, context.keyNames);
  });

const unchanged = (channel: Channel, pointer: ChannelPointer): HaltResult => ({
  channel,
  serial: pointer.serial,
  pointer,
  changed: false,
  proposed: false,
});

async function setPercent(
  repository: Repository,
  before: ChannelPointer,
  percent: number,
  event: { action: string; before: number },
  keyNames: readonly string[] | undefined,
): Promise<HaltResult> {
  const pointer = { ...before, serial: before.serial + 1, rollout: { ...before.rollout, percent } };
  const details = { percentBefore: event.before };
  const state = await stagePointer(
    repository,
    before,
    pointer,
    { action: event.action, details },
    { keyNames },
  );
  const { serial } = pointer;
  return {
    channel: channelNamed(pointer.channel),
    serial,
    pointer,
    changed: true,
    proposed: state === 'proposed',
  };
}

function requirePrevious(repository: Repository, pointer: ChannelPointer): void {
  const { previous, current, channel } = pointer;
  const { targets } = repository.roles.releases.metadata.signed;
  if (previous && !sameBuild(previous, current) && isUsable(previous, pointer, targets)) return;
  throw signingError({
    code: 'E_CHANNEL_NO_PREVIOUS',
    message: `The channel "${channel}" has no previous release that nodes could go back to.`,
    where: channelTarget(channel),
    expected: 'another previous release that is signed, not withdrawn and not below min_version',
    found: previous?.version ?? 'none',
    fix: `Promote another release (release promote VERSION ${channel}), or withdraw this one, after which no node starts it: release revoke ${current.version}`,
  });
}

/** From the last halt of this very build: its entry in the event log. */
async function percentBefore(repository: Repository, pointer: ChannelPointer): Promise<number | undefined> {
  const { entries } = await readEventLog(repository.storage, repository.anchor);
  const entry = entries.findLast(
    ({ role, action, details }) => role === pointer.channel && action !== 'propose' && 'serial' in details,
  );
  const percent = entry?.action === 'halt' ? entry.details.percentBefore : undefined;
  return typeof percent === 'number' ? percent : undefined;
}

const usage = (message: string, fix: string) =>
  libError({ code: 'E_USAGE', message, where: '--percent', fix });
