import { QueueChannels } from '../../lib/protocol/release.ts';
import { signingError } from '../errors.ts';
import { stableJson } from '../stable-json.ts';
import { amendRole } from './amend-role.ts';
import { channelNamed } from './channel-pointer.ts';
import { QUEUES_TARGET } from './layout.ts';
import { newestSeen } from './next-version.ts';
import { withRepository, type ReleaseContext, type Repository } from './repository.ts';
import { readTarget, writeTarget } from './target-files.ts';

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

/** The newest queue map, staged or public. */
export async function readQueueMap(repository: Repository): Promise<QueueChannels> {
  const target = repository.roles.queues.metadata.signed.targets[QUEUES_TARGET]!;
  const bytes = await readTarget(repository.storage, target);
  const map = QueueChannels.parse(JSON.parse(bytes.toString('utf8')));
  return { ...map, serial: newestSeen(repository.state, 'queues.serial', map.serial) };
}
