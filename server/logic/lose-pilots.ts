import { listAttemptsOfPilot } from '../queries/list-attempts-of-pilot.ts';
import { listExpiredPilots } from '../queries/list-expired-pilots.ts';
import { losePilot } from '../queries/lose-pilot.ts';
import type { Moment } from '../queries/read-moment.ts';
import { updateSubmissionState } from '../queries/update-submission-state.ts';
import type { ServerContext, Trx } from './context.ts';
import { loseAttempt } from './lose-attempt.ts';

/**
 * Takes their places from pilots that were not heard of in time, and their jobs with them. Only this frees a place: a
 * pilot whose lease ran out keeps it until then, so that two never count on the same one.
 *
 * @returns queues in which jobs wait again.
 */
export async function losePilots(
  context: ServerContext,
  trx: Trx,
  moment: Moment,
  filter: { queue?: string; limit: number },
): Promise<Set<string>> {
  const requeued = new Set<string>();
  for (const pilot of await listExpiredPilots(trx, { ...filter, atMs: moment.atMs })) {
    if (!(await losePilot(trx, pilot.pilot_id, moment.atMs))) continue;
    await updateSubmissionState(trx, pilot.submission_id, 'enrolled', 'ended');
    for (const ids of await listAttemptsOfPilot(trx, pilot.pilot_id)) {
      const queue = await loseAttempt(context, trx, ids, moment, {
        outcome: 'lost',
        actor: 'server',
        onlyIfOverdue: false,
      });
      if (queue !== undefined) requeued.add(queue);
    }
    context.log.warn({ pilotId: pilot.pilot_id }, 'pilot lost');
  }
  return requeued;
}
