import type { ChannelPointer } from '../../../lib/protocol/release.ts';
import { readPointer } from './channel-pointer.ts';
import { describeChannel } from './describe-channel.ts';
import { channels, type Channel } from '../layout.ts';
import { withRepository, type ReleaseContext } from '../repository/repository.ts';

export interface ChannelEntry {
  channel: Channel;
  /** True: signed, but not yet public. */
  staged: boolean;
  /** Null: nothing was promoted to it yet. */
  pointer: ChannelPointer | null;
  /** What it makes nodes do, for people. */
  effect: string;
}

/** Every channel with its newest pointer, staged or public. Errors as {@link withRepository}. */
export const listChannels = (context: ReleaseContext): Promise<ChannelEntry[]> =>
  withRepository(context, async repository => {
    const entries: ChannelEntry[] = [];
    for (const channel of channels) {
      const pointer = await readPointer(repository, channel);
      const effect = pointer
        ? describeChannel(pointer, context.clock.now())
        : 'points at no release yet; nodes that follow it start nothing';
      entries.push({ channel, staged: repository.roles[channel].staged, pointer, effect });
    }
    return entries;
  });
