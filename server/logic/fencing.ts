import { isFinal } from '../../lib/job-states.ts';
import type { JobState } from '../../lib/job-states.ts';
import { wireError } from '../../lib/problem.ts';
import type { PilotCaller } from '../policy/caller.ts';
import { findAttempt } from '../queries/find-attempt.ts';
import { lockJob } from '../queries/lock-job.ts';
import type { Moment } from '../queries/read-moment.ts';
import { renewPilotLease } from '../queries/renew-pilot-lease.ts';
import type { AttemptRow, JobRow } from '../schema.ts';
import { toMs } from './context.ts';
import type { ServerContext, Trx } from './context.ts';

/** Renews a pilot's place under the cap, as every call of a pilot does. @returns false where it has lost the place. */
export const renewPilotPlace = (
  context: ServerContext,
  trx: Trx,
  caller: PilotCaller,
  moment: Moment,
): Promise<boolean> =>
  renewPilotLease(
    trx,
    caller.pilotId,
    moment.incarnation,
    moment.atMs + toMs(context.settings.pilotLeaseSeconds),
  );

/** As {@link renewPilotPlace}. @throws E_FENCED */
export async function requirePilotPlace(
  context: ServerContext,
  trx: Trx,
  caller: PilotCaller,
  moment: Moment,
): Promise<void> {
  if (await renewPilotPlace(context, trx, caller, moment)) return;
  throw wireError('E_FENCED', 'This pilot has ended, or was not heard of until its place was given away.', {
    where: caller.name,
    rule: 'pilot-lease',
    fix: 'End; a new pilot has to enrol with its own submission.',
  });
}

/**
 * The caller's own attempt with its job, locked and read after the lock.
 *
 * @throws E_NOT_FOUND for another pilot's attempt; E_FENCED for another incarnation of the database.
 */
export async function lockOwnAttempt(
  trx: Trx,
  caller: PilotCaller,
  attemptId: string,
  incarnation: string,
  moment: Moment,
): Promise<{ attempt: AttemptRow; job: JobRow }> {
  const seen = await findAttempt(trx, attemptId);
  if (!seen || seen.pilot_id !== caller.pilotId) {
    throw wireError('E_NOT_FOUND', 'This pilot has no such attempt.', {
      where: `attempt ${attemptId}`,
      rule: 'pilot-works',
      fix: 'Name an attempt that this pilot acquired.',
    });
  }
  if (incarnation !== moment.incarnation || seen.incarnation !== moment.incarnation) {
    throw wireError('E_FENCED', 'The lease was given by another incarnation of the database.', {
      where: `attempt ${attemptId}`,
      rule: 'database-incarnation',
      expected: moment.incarnation,
      found: incarnation,
      fix: 'Keep the result; an operator can accept it.',
    });
  }
  const job = await lockJob(trx, seen.job_id);
  const attempt = await findAttempt(trx, attemptId);
  if (!job || !attempt) throw new Error(`attempt ${attemptId} has no job`);
  return { attempt, job };
}

/** The refusal of a write to an attempt that has ended. */
export const attemptOver = (attempt: AttemptRow, job: JobRow) =>
  isFinal(job.state as JobState)
    ? wireError('E_JOB_GONE', `The job has ended: it is ${job.state}.`, {
        where: `job ${job.job_id}`,
        rule: 'one-accepted-result',
        fix: 'Drop the job; nothing of it is wanted any more.',
      })
    : wireError('E_FENCED', `This attempt is over: it is ${attempt.state}.`, {
        where: `attempt ${attempt.attempt_id}`,
        rule: 'attempt-lease',
        fix: 'Drop the attempt; the job is run again elsewhere.',
      });
