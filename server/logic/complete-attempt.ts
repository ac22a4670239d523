import { isFinal } from '../../lib/job-states.ts';
import type { JobState } from '../../lib/job-states.ts';
import type { ParsedBody } from '../../lib/protocol.ts';
import type { PilotCaller } from '../policy/caller.ts';
import { countPilotJob } from '../queries/count-pilot-job.ts';
import { endAttemptRow } from '../queries/end-attempt-row.ts';
import { findCommand } from '../queries/find-command.ts';
import type { Moment } from '../queries/read-moment.ts';
import type { AttemptRow, JobRow } from '../schema.ts';
import { canonicalSha256 } from './canonical-sha256.ts';
import type { ServerContext, Trx } from './context.ts';
import { attemptOver, lockOwnAttempt, renewPilotPlace } from './fencing.ts';
import { moveLockedJob } from './move-job.ts';
import { once } from './once.ts';
import { settle, settleJob } from './settle-job.ts';
import type { Ending } from './settle-job.ts';
import { storableText } from './storable-text.ts';

type Completion = ParsedBody<'complete'>;
export interface Completed {
  accepted: boolean;
  jobState: JobState;
}

/**
 * Takes the result of an attempt. It is accepted from the current attempt; and from one that was given up as lost, when it
 * finished after all and the job has no result yet: then its replacement is cancelled in the same transaction. The same
 * result of the same attempt gets the same answer again, whatever its key; another one is refused.
 *
 * @throws E_NOT_FOUND, E_FENCED, E_JOB_GONE.
 */
export async function completeAttempt(
  context: ServerContext,
  caller: PilotCaller,
  key: string,
  attemptId: string,
  body: Completion,
): Promise<Completed> {
  const request = { caller: caller.name, route: 'complete' as const, key, request: { attemptId, body } };
  let requeued: string | undefined;
  const reply = await once<Completed>(context, request, async (trx, moment) => {
    await renewPilotPlace(context, trx, caller, moment);
    const { attempt, job } = await lockOwnAttempt(trx, caller, attemptId, body.incarnation, moment);
    const resultSha256 = canonicalSha256({ ...body, tail: null });
    if (attempt.result_sha256 === resultSha256) {
      return { accepted: attempt.result_accepted === 1, jobState: attempt.result_job_state as JobState };
    }
    if (attempt.result_sha256 !== null) throw attemptOver(attempt, job);
    const held = attempt.ended_ms === null ? job : await rescue(trx, attempt, job, body, moment);
    const ending = await endingOf(trx, held, attemptId, body);
    const settlement = settle(held, ending, context.settings.limits.returns);
    const moved = await settleJob(trx, held, settlement, {
      atMs: moment.atMs,
      actor: caller.name,
      reportedBy: attemptId,
    });
    await endAttemptRow(trx, attemptId, attemptEnd(body, ending, moment, resultSha256, moved));
    if (body.outcome !== 'returned') await countPilotJob(trx, caller.pilotId);
    requeued = moved.state === 'activated' ? moved.queue : undefined;
    return { accepted: true, jobState: moved.state as JobState };
  });
  if (requeued !== undefined) context.wakeup.notify(requeued);
  return reply;
}

/**
 * Gives a job that waits again, or runs elsewhere, back to the attempt that finished late.
 *
 * @throws E_FENCED, E_JOB_GONE where there is nothing to rescue.
 */
async function rescue(
  trx: Trx,
  attempt: AttemptRow,
  job: JobRow,
  body: Completion,
  moment: Moment,
): Promise<JobRow> {
  const givenUp = attempt.state === 'lost' || attempt.state === 'returned';
  if (!givenUp || body.outcome !== 'finished' || isFinal(job.state as JobState))
    throw attemptOver(attempt, job);
  const note = `late result of attempt ${attempt.attempt_number} accepted`;
  const own = { current_attempt_id: attempt.attempt_id };
  if (job.state === 'activated') {
    return moveLockedJob(trx, job, {
      to: 'sent',
      atMs: moment.atMs,
      actor: `pilot ${attempt.pilot_id}`,
      note,
      change: own,
    });
  }
  if (job.current_attempt_id !== null) {
    await endAttemptRow(trx, job.current_attempt_id, {
      state: 'cancelled',
      ended_ms: moment.atMs,
      cause_code: 'KILLED',
      cause_text: note,
    });
  }
  return { ...job, ...own };
}

/**
 * How the attempt ended. A payload that was ended because its pilot's release was killed was not killed by its owner, though
 * its pilot may know no other word for it: the command without a request to kill the job tells.
 */
async function endingOf(trx: Trx, job: JobRow, attemptId: string, body: Completion): Promise<Ending> {
  if (body.cause?.code !== 'KILLED' || job.kill_requested_ms !== null) return body;
  const command = await findCommand(trx, attemptId, 'kill');
  if (command === undefined) return body;
  return { outcome: 'failed', cause: { code: 'RELEASE_REVOKED', text: command.reason } };
}

function attemptEnd(body: Completion, ending: Ending, moment: Moment, resultSha256: string, job: JobRow) {
  return {
    state: ending.outcome,
    ended_ms: moment.atMs,
    cause_code: ending.cause?.code ?? null,
    cause_text: ending.cause ? storableText(ending.cause.text, 2000) : null,
    usage_json: JSON.stringify(body.usage),
    outputs_json: JSON.stringify(body.outputs),
    receipt_json: body.receipt ? JSON.stringify(body.receipt) : null,
    result_sha256: resultSha256,
    result_accepted: 1,
    result_job_state: job.state,
    ...(body.release && { release_json: JSON.stringify(body.release) }),
    ...(body.tail && {
      tail_stdout: storableText(body.tail.stdout, 8192),
      tail_stderr: storableText(body.tail.stderr, 8192),
    }),
  };
}
