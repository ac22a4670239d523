import { newId } from '../../lib/ids.ts';
import { activeStates } from '../../lib/job-states.ts';
import type { JobState } from '../../lib/job-states.ts';
import { wireError } from '../../lib/problem.ts';
import type { ParsedBody } from '../../lib/protocol.ts';
import type { UserCaller } from '../policy/caller.ts';
import { insertCommand } from '../queries/insert-command.ts';
import { lockJob } from '../queries/lock-job.ts';
import { listPendingCommands } from '../queries/list-pending-commands.ts';
import type { ServerContext } from './context.ts';
import { killLocked } from './kill-job.ts';
import { once } from './once.ts';
import { storableText } from './storable-text.ts';
import { requireJobFor } from './visible-job.ts';

/**
 * Queues one of the fixed verbs for a job's running attempt; it goes out with the next heartbeat's answer. While one
 * waits, the same verb again is that command: an attempt has at most one of each.
 *
 * @throws E_NOT_FOUND, E_NOT_ALLOWED, E_PRECONDITION where no attempt runs.
 */
export async function commandJob(
  context: ServerContext,
  caller: UserCaller,
  key: string,
  jobId: string,
  body: ParsedBody<'commandJob'>,
): Promise<{ commandId: string }> {
  const request = { caller: caller.name, route: 'commandJob' as const, key, request: { jobId, body } };
  return once(context, request, async (trx, moment) => {
    await requireJobFor(trx, caller, 'command', jobId);
    const job = await lockJob(trx, jobId);
    const attemptId = job?.current_attempt_id;
    if (!job || !attemptId || !activeStates.includes(job.state as JobState)) {
      throw wireError('E_PRECONDITION', `No attempt of this job runs: it is ${job?.state}.`, {
        where: `job ${jobId}`,
        rule: 'commands-reach-running-attempts',
        fix: 'Commands are for running attempts; a waiting job can be killed.',
      });
    }
    if (body.verb === 'kill') {
      await killLocked(trx, caller, jobId, body.reason, moment);
    }
    const pending = await listPendingCommands(trx, attemptId);
    const same = pending.find(command => command.verb === body.verb);
    if (same) return { commandId: same.command_id };
    const commandId = newId();
    await insertCommand(trx, {
      command_id: commandId,
      attempt_id: attemptId,
      job_id: jobId,
      verb: body.verb,
      reason: storableText(body.reason, 500),
      created_ms: moment.atMs,
      acknowledged_ms: null,
    });
    return { commandId };
  });
}
