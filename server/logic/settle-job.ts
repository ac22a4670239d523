import { causeTable } from '../../lib/job-causes.ts';
import type { CauseCode } from '../../lib/job-causes.ts';
import type { JobState } from '../../lib/job-states.ts';
import type { Cause } from '../../lib/protocol/job.ts';
import type { Executor, JobRow } from '../schema.ts';
import { moveLockedJob } from './move-job.ts';
import { storableText } from './storable-text.ts';

/** How an attempt ended. */
export interface Ending {
  outcome: 'finished' | 'failed' | 'cancelled' | 'returned' | 'lost';
  cause: Cause | null;
}

export interface Settlement {
  to: Extract<JobState, 'finished' | 'failed' | 'cancelled' | 'activated'>;
  cause: Cause | null;
  tries: number;
}

const defaultCause: Record<Exclude<Ending['outcome'], 'finished'>, Cause> = {
  failed: { code: 'PILOT_ERROR', text: 'The pilot gave no cause.' },
  cancelled: { code: 'KILLED', text: 'The pilot ended the payload.' },
  returned: { code: 'PILOT_TERMINATED', text: 'The pilot handed the job back.' },
  lost: { code: 'PILOT_LOST', text: 'The pilot was not heard of until its lease ran out.' },
};

/**
 * What becomes of a job when its attempt ends: the owner of the error decides whether another attempt may help, the job's
 * maximum of tries bounds it, and a requested kill ends it however the attempt ended short of success.
 *
 * @param maxReturns attempts that do not count as tries, at most; beyond that a site only takes and hands back.
 */
export function settle(job: JobRow, ending: Ending, maxReturns: number): Settlement {
  if (ending.outcome === 'finished') return { to: 'finished', cause: null, tries: job.tries + 1 };
  const cause = ending.cause ?? defaultCause[ending.outcome];
  const rule = causeTable[cause.code as CauseCode];
  const counts = ending.outcome !== 'returned' && rule.countsAsTry;
  const tries = job.tries + (counts ? 1 : 0);
  if (job.kill_requested_ms !== null) {
    return { to: 'cancelled', cause: { code: 'KILLED', text: job.kill_reason ?? '' }, tries };
  }
  const retry = ending.outcome === 'returned' || rule.retry;
  const bounded = counts ? tries < job.max_attempts : job.attempts - tries <= maxReturns;
  return { to: retry && bounded ? 'activated' : 'failed', cause, tries };
}

/**
 * Moves a locked job as {@link settle} says and records why.
 *
 * @param reportedBy the attempt whose report this is; null where there was none (a lost pilot).
 */
export async function settleJob(
  db: Executor,
  job: JobRow,
  settlement: Settlement,
  options: { atMs: number; actor: string; reportedBy: string | null },
): Promise<JobRow> {
  const { to, cause, tries } = settlement;
  const ended = to !== 'activated';
  return moveLockedJob(db, job, {
    to,
    atMs: options.atMs,
    actor: options.actor,
    note: cause ? `${cause.code}: ${cause.text}` : '',
    change: {
      tries,
      current_attempt_id: ended ? job.current_attempt_id : null,
      cause_code: ended ? (cause?.code ?? null) : null,
      cause_text: ended && cause ? storableText(cause.text, 2000) : null,
      ...(ended && { accepted_attempt_id: options.reportedBy }),
    },
  });
}
