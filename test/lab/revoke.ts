import type { ChannelPointer } from '../../lib/protocol/release.ts';
import { amendRole } from '../../signing/release/repository/amend-role.ts';
import { channelTarget } from '../../signing/release/layout.ts';
import type { Channel } from '../../signing/release/layout.ts';
import { readPointer } from '../../signing/release/channels/channel-pointer.ts';
import { withRepository } from '../../signing/release/repository/repository.ts';
import { writeTarget } from '../../signing/release/repository/target-files.ts';
import { stableJson } from '../../signing/stable-json.ts';
import type { ReleaseRepositoryLab } from './release-repository.ts';

/** Signs the next pointer of a channel with `change` in it, and publishes. */
export async function amendPointer(
  repository: ReleaseRepositoryLab,
  channel: Channel,
  change: Partial<ChannelPointer>,
): Promise<void> {
  await withRepository(repository.context, async opened => {
    const old = await readPointer(opened, channel);
    if (old === null) throw new Error(`the channel ${channel} has no pointer`);
    const bytes = stableJson({ ...old, serial: old.serial + 1, ...change });
    const target = await writeTarget(opened.storage, channelTarget(channel), bytes);
    await amendRole(opened, channel, [target], { action: 'revoke' });
  });
  await repository.publish();
}
