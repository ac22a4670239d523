import { causeCodes, causeTable } from '../../lib/job-causes.ts';
import type { ReplyBody } from '../../lib/protocol.ts';
import type { UserCaller } from '../policy/caller.ts';
import { readDemand } from '../queries/read-demand.ts';
import { inTransaction, toMs } from './context.ts';
import type { ServerContext } from './context.ts';
import { killedPilots } from './killed-pilots.ts';
import { requireQueueFor } from './require-queue.ts';

/** Causes that a site has to answer for; handing back in good order is none. */
const siteCauses = causeCodes.filter(
  code => causeTable[code].owner === 'site' && causeTable[code].countsAsTry,
);

/**
 * How many pilots a queue can use now, how its last pilots fared, and which ones are to be removed because their release was
 * killed. The numbers are of one moment.
 *
 * @throws E_NOT_FOUND, E_NOT_ALLOWED.
 */
export function demand(
  context: ServerContext,
  caller: UserCaller,
  name: string,
): Promise<Omit<ReplyBody<'demand'>, 'serverTimeMs' | 'instance'>> {
  const windowSeconds = context.settings.demandWindowSeconds;
  return inTransaction(context, async (trx, { atMs }) => {
    const queue = await requireQueueFor(trx, caller, 'demand', name);
    const endedSinceMs = atMs - toMs(windowSeconds);
    const remove = await killedPilots(context, trx, { queue: name, endedSinceMs });
    const row = await readDemand(trx, name, siteCauses, atMs, endedSinceMs);
    return {
      queue: name,
      activated: row.activated,
      active: row.active,
      cap: queue.retired ? 0 : queue.max_pilots,
      submissionsOpen: row.submissions_open,
      pilotsIdle: row.pilots_working - row.pilots_busy,
      pilotsBusy: row.pilots_busy,
      recent: {
        windowSeconds,
        pilotsEnded: row.pilots_ended,
        pilotsEmpty: row.pilots_empty,
        pilotsLost: row.pilots_lost,
        jobsFailedBySite: row.jobs_failed_by_site,
      },
      remove,
    };
  });
}
