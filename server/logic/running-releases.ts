import type { ReplyBody } from '../../lib/protocol.ts';
import { mayIn } from '../policy/authorize.ts';
import type { UserCaller } from '../policy/caller.ts';
import { countPilotsByRelease } from '../queries/count-pilots-by-release.ts';
import { listQueues } from '../queries/list-queues.ts';
import { inTransaction } from './context.ts';
import type { ServerContext } from './context.ts';
import { releaseRefOf } from './revoked-release.ts';

type Running = ReplyBody<'releases'>['releases'][number];

/** A pilot can name any version; beyond this the rarest are left out. */
const MAX_ROWS = 10_000;

/**
 * Who runs what now: working pilots of the caller's queues by release version and channel, most first, and what the release
 * managers say of the version.
 */
export function runningReleases(
  context: ServerContext,
  caller: UserCaller,
): Promise<{ releases: Running[] }> {
  return inTransaction(context, async trx => {
    const queues = (await listQueues(trx)).filter(({ vo }) => mayIn(caller, 'read', vo));
    const rows = new Map<string, Running>();
    for (const { name: queue } of queues) {
      for (const { release_json, pilots } of await countPilotsByRelease(trx, { queue })) {
        const release = release_json === null ? null : releaseRefOf(release_json);
        const version = release?.version ?? null;
        const channel = release?.channel ?? null;
        const key = JSON.stringify([queue, version, channel]);
        const row = rows.get(key);
        if (row) row.pilots += pilots;
        else {
          const standing = version === null ? 'good' : context.releases.judge(version, queue);
          rows.set(key, { queue, version, channel, pilots, standing });
        }
      }
    }
    return { releases: [...rows.values()].toSorted((a, b) => b.pilots - a.pilots).slice(0, MAX_ROWS) };
  });
}
