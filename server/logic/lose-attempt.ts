import { findAttempt } from '../queries/find-attempt.ts';
import { endAttemptRow } from '../queries/end-attempt-row.ts';
import { lockJob } from '../queries/lock-job.ts';
import type { Moment } from '../queries/read-moment.ts';
import type { ServerContext, Trx } from './context.ts';
import { killedReleaseOf, revocationText } from './revoked-release.ts';
import { settle, settleJob } from './settle-job.ts';
import type { Ending } from './settle-job.ts';

/**
 * Ends an attempt that its pilot does not end: lost (not heard of) or returned (the pilot leaves).
 *
 * @param onlyIfOverdue leaves it alone if it was renewed meanwhile.
 * @returns the queue the job waits in again, if it does.
 */
export async function loseAttempt(
  context: ServerContext,
  trx: Trx,
  ids: { job_id: string; attempt_id: string },
  moment: Moment,
  options: {
    outcome: Extract<Ending['outcome'], 'lost' | 'returned'>;
    actor: string;
    onlyIfOverdue: boolean;
  },
): Promise<string | undefined> {
  const job = await lockJob(trx, ids.job_id);
  const attempt = await findAttempt(trx, ids.attempt_id);
  if (!job || !attempt || attempt.ended_ms !== null) return undefined;
  if (options.onlyIfOverdue && attempt.lease_until_ms >= moment.atMs) return undefined;
  // A pilot that had to be ended with its release is no fault of the site.
  const killed = options.outcome === 'lost' ? await killedReleaseOf(context, trx, attempt) : undefined;
  const cause = killed ? { code: 'RELEASE_REVOKED', text: revocationText(killed) } : null;
  const settlement = settle(job, { outcome: options.outcome, cause }, context.settings.limits.returns);
  await endAttemptRow(trx, attempt.attempt_id, {
    state: options.outcome,
    ended_ms: moment.atMs,
    cause_code: cause?.code ?? (options.outcome === 'lost' ? 'PILOT_LOST' : 'PILOT_TERMINATED'),
    cause_text: cause?.text ?? options.actor,
  });
  const moved = await settleJob(trx, job, settlement, {
    atMs: moment.atMs,
    actor: options.actor,
    reportedBy: null,
  });
  return moved.state === 'activated' ? job.queue : undefined;
}
