import type { Action } from '../../lib/protocol.ts';
import { wireError } from '../../lib/problem.ts';
import { authorizeOn } from '../policy/authorize.ts';
import type { Caller, UserCaller } from '../policy/caller.ts';
import { findAttempt } from '../queries/find-attempt.ts';
import { findJob } from '../queries/find-job.ts';
import type { Executor, JobRow } from '../schema.ts';

const noSuchJob = (jobId: string) =>
  wireError('E_NOT_FOUND', 'There is no such job in your VOs.', {
    where: `job ${jobId}`,
    rule: 'vo-isolation',
    fix: 'Check the id, and that you are a member of its VO.',
  });

/**
 * A job on which a user may do an action. Jobs of other VOs are not told from jobs that do not exist.
 *
 * @throws E_NOT_FOUND, E_NOT_ALLOWED.
 */
export async function requireJobFor(
  db: Executor,
  caller: UserCaller,
  action: Action,
  jobId: string,
): Promise<JobRow> {
  const job = await findJob(db, jobId);
  if (!job || !caller.roles.has(job.vo)) throw noSuchJob(jobId);
  authorizeOn(caller, action, { vo: job.vo, owner: job.owner });
  return job;
}

/** A job that the caller may read: a user in its VO, or the payload that runs it. @throws E_NOT_FOUND, E_NOT_ALLOWED. */
export async function requireReadableJob(db: Executor, caller: Caller, jobId: string): Promise<JobRow> {
  if (caller.kind === 'user') return requireJobFor(db, caller, 'read', jobId);
  if (caller.kind !== 'payload') throw noSuchJob(jobId);
  const attempt = await findAttempt(db, caller.attemptId);
  const job = attempt?.job_id === jobId ? await findJob(db, jobId) : undefined;
  if (!job) throw noSuchJob(jobId);
  return job;
}
