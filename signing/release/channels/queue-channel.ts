import { QueueChannels } from '../../../lib/protocol/release.ts';
import { signingError } from '../../errors.ts';
import { stableJson } from '../../stable-json.ts';
import { amendRole, watchProposals } from '../repository/amend-role.ts';
import { channelNamed } from './channel-pointer.ts';
import { QUEUES_TARGET } from '../layout.ts';
import { newestSeen } from '../repository/next-version.ts';
import { withRepository, type ReleaseContext, type Repository } from '../repository/repository.ts';
import { readTarget, writeTarget } from '../repository/target-files.ts';

export interface QueueResult {
  serial: number;
  default: string;
  queues: Record<string, string>;
  changed: boolean;
  /** True: the map waits for more signatures. */
  proposed: boolean;
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
    if (!changed && old.serial === (await signedMap(repository)).serial) {
      return { serial: old.serial, default: old.default, queues: old.queues, changed, proposed: false };
    }
    const target = await writeTarget(repository.storage, QUEUES_TARGET, stableJson(map));
    const details = { queue, channel: context.channel, serial: map.serial };
    const watched = watchProposals(repository);
    await amendRole(watched.repository, 'queues', [target], { action: 'queue', details }, context.keyNames);
    return {
      serial: map.serial,
      default: map.default,
      queues: map.queues,
      changed: true,
      proposed: watched.isProposed(),
    };
  });

/** The newest queue map, staged or public; its serial is the newest that clients may have seen. */
export async function readQueueMap(repository: Repository): Promise<QueueChannels> {
  const map = await signedMap(repository);
  return { ...map, serial: newestSeen(repository.state, 'queues.serial', map.serial) };
}

async function signedMap(repository: Repository): Promise<QueueChannels> {
  const target = repository.roles.queues.metadata.signed.targets[QUEUES_TARGET]!;
  return QueueChannels.parse(JSON.parse((await readTarget(repository.storage, target)).toString('utf8')));
}
