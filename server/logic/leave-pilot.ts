import type { ParsedBody } from '../../lib/protocol.ts';
import type { PilotCaller } from '../policy/caller.ts';
import { findPilot } from '../queries/find-pilot.ts';
import { leavePilotRow } from '../queries/leave-pilot-row.ts';
import { listAttemptsOfPilot } from '../queries/list-attempts-of-pilot.ts';
import { updateSubmissionState } from '../queries/update-submission-state.ts';
import type { ServerContext } from './context.ts';
import { loseAttempt } from './lose-attempt.ts';
import { once } from './once.ts';
import { storableText } from './storable-text.ts';

/**
 * Ends a pilot at its own wish: its place is free, and jobs that it still holds wait again without having used up a try.
 * A pilot that has ended already gets the same answer.
 */
export async function leavePilot(
  context: ServerContext,
  caller: PilotCaller,
  key: string,
  body: ParsedBody<'leavePilot'>,
): Promise<Record<string, never>> {
  const requeued = new Set<string>();
  const request = { caller: caller.name, route: 'leavePilot' as const, key, request: body };
  await once(context, request, async (trx, moment) => {
    requeued.clear();
    const left = await leavePilotRow(trx, caller.pilotId, moment.atMs, storableText(body.reason, 500));
    const pilot = await findPilot(trx, caller.pilotId);
    if (!left || !pilot) return {};
    await updateSubmissionState(trx, pilot.submission_id, 'enrolled', 'ended');
    for (const ids of await listAttemptsOfPilot(trx, caller.pilotId)) {
      const queue = await loseAttempt(context, trx, ids, moment, {
        outcome: 'returned',
        actor: caller.name,
        onlyIfOverdue: false,
      });
      if (queue !== undefined) requeued.add(queue);
    }
    return {};
  });
  for (const queue of requeued) context.wakeup.notify(queue);
  return {};
}
