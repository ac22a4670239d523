import { newId } from '../../lib/ids.ts';
import { activeStates, isFinal } from '../../lib/job-states.ts';
import type { JobState } from '../../lib/job-states.ts';
import { wireError } from '../../lib/problem.ts';
import type { ParsedBody } from '../../lib/protocol.ts';
import type { UserCaller } from '../policy/caller.ts';
import { insertCommand } from '../queries/insert-command.ts';
import { listPendingCommands } from '../queries/list-pending-commands.ts';
import { lockJob } from '../queries/lock-job.ts';
import type { Moment } from '../queries/read-moment.ts';
import { requestKill } from '../queries/request-kill.ts';
import type { ServerContext, Trx } from './context.ts';
import { moveLockedJob } from './move-job.ts';
import { once } from './once.ts';
import { requireJobFor } from './visible-job.ts';
import { storableText } from './storable-text.ts';

/**
 * Ends a job: a waiting one at once; a running one is told with its next heartbeat and is cancelled when its pilot says
 * so or is lost. Killing a cancelled job again is no error.
 *
 * @throws E_NOT_FOUND, E_NOT_ALLOWED, E_JOB_GONE for a job that ended otherwise.
 */
export async function killJob(
  context: ServerContext,
  caller: UserCaller,
  key: string,
  jobId: string,
  body: ParsedBody<'killJob'>,
): Promise<{ jobId: string; state: JobState }> {
  const request = { caller: caller.name, route: 'killJob' as const, key, request: { jobId, body } };
  return once(context, request, async (trx, moment) => {
    await requireJobFor(trx, caller, 'kill', jobId);
    return { jobId, state: await killLocked(trx, caller, jobId, body.reason, moment) };
  });
}

/** The kill itself, in a transaction of the caller. */
export async function killLocked(
  trx: Trx,
  caller: UserCaller,
  jobId: string,
  reason: string,
  moment: Moment,
): Promise<JobState> {
  const job = await lockJob(trx, jobId);
  if (!job) throw new Error(`job ${jobId} vanished`);
  const state = job.state as JobState;
  if (state === 'cancelled') return state;
  if (isFinal(state)) {
    throw wireError('E_JOB_GONE', `The job has ended already: it is ${state}.`, {
      where: `job ${jobId}`,
      rule: 'job-transitions',
      fix: 'Nothing is left to kill.',
    });
  }
  const text = storableText(reason, 500) || `killed by ${caller.name}`.slice(0, 500);
  await requestKill(trx, jobId, moment.atMs, text);
  if (!activeStates.includes(state)) {
    const moved = await moveLockedJob(trx, job, {
      to: 'cancelled',
      atMs: moment.atMs,
      actor: caller.name,
      note: text,
      change: { cause_code: 'KILLED', cause_text: text },
    });
    return moved.state as JobState;
  }
  const attemptId = job.current_attempt_id;
  if (attemptId === null) throw new Error(`job ${jobId} is active without an attempt`);
  const pending = await listPendingCommands(trx, attemptId);
  if (!pending.some(command => command.verb === 'kill')) {
    await insertCommand(trx, {
      command_id: newId(),
      attempt_id: attemptId,
      job_id: jobId,
      verb: 'kill',
      reason: text,
      created_ms: moment.atMs,
      acknowledged_ms: null,
    });
  }
  return state;
}
