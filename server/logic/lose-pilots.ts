import { listAttemptsOfPilot } from '../queries/list-attempts-of-pilot.ts';
import { listExpiredPilots } from '../queries/list-expired-pilots.ts';
import { losePilot as losePilotRow } from '../queries/lose-pilot.ts';
import type { Moment } from '../queries/read-moment.ts';
import { updateSubmissionState } from '../queries/update-submission-state.ts';
import type { ServerContext, Trx } from './context.ts';
import { loseAttempt } from './lose-attempt.ts';

/**
 * Takes its place from a pilot that was not heard of in time, and its jobs with it. Only this frees a place: a pilot whose
 * lease ran out keeps it until then, so that two never count on the same one.
 *
 * @returns queues in which jobs wait again.
 */
export async function losePilot(
  context: ServerContext,
  trx: Trx,
  pilot: { pilot_id: string; submission_id: string },
  moment: Moment,
): Promise<Set<string>> {
  const requeued = new Set<string>();
  if (!(await losePilotRow(trx, pilot.pilot_id, moment.atMs))) return requeued;
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
  return requeued;
}

/** As {@link losePilot} for all such pilots of a queue, in one transaction. */
export async function losePilots(
  context: ServerContext,
  trx: Trx,
  moment: Moment,
  filter: { queue: string; limit: number },
): Promise<Set<string>> {
  const requeued = new Set<string>();
  for (const pilot of await listExpiredPilots(trx, { ...filter, atMs: moment.atMs })) {
    for (const queue of await losePilot(context, trx, pilot, moment)) requeued.add(queue);
  }
  return requeued;
}
