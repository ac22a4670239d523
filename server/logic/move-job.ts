import { newId } from '../../lib/ids.ts';
import { mayBecome } from '../../lib/job-states.ts';
import type { JobState } from '../../lib/job-states.ts';
import { wireError } from '../../lib/problem.ts';
import { insertJobEvents } from '../queries/insert-job-events.ts';
import { updateJobState } from '../queries/update-job-state.ts';
import type { JobChange } from '../queries/update-job-state.ts';
import type { Executor, JobRow } from '../schema.ts';
import { storableText } from './storable-text.ts';

export interface Move {
  to: JobState;
  atMs: number;
  /** Who caused it: a DN, `pilot <id>` or `server`. */
  actor: string;
  note?: string;
  change?: JobChange;
}

/**
 * Changes a job's state and writes the line of its history: the only way a job ever changes.
 *
 * @returns the changed job; undefined where the job has another state than `job` says, because somebody was faster.
 * @throws E_ILLEGAL_TRANSITION for a change that is not in lib/job-states.ts.
 */
export async function moveJob(db: Executor, job: JobRow, move: Move): Promise<JobRow | undefined> {
  const from = job.state as JobState;
  if (!mayBecome(from, move.to)) {
    throw wireError('E_ILLEGAL_TRANSITION', `A job that is ${from} cannot become ${move.to}.`, {
      where: `job ${job.job_id}`,
      rule: 'job-transitions',
      fix: 'Look at the job; it has moved on.',
    });
  }
  const change = { ...move.change, changed_ms: move.atMs };
  if (!(await updateJobState(db, job.job_id, from, move.to, change))) return undefined;
  await insertJobEvents(db, [
    {
      event_id: newId(),
      job_id: job.job_id,
      at_ms: move.atMs,
      from_state: from,
      to_state: move.to,
      actor: storableText(move.actor, 1000),
      note: storableText(move.note ?? '', 2000),
    },
  ]);
  return { ...job, ...change, state: move.to };
}

/** As {@link moveJob} for a job that this transaction has locked. */
export async function moveLockedJob(db: Executor, job: JobRow, move: Move): Promise<JobRow> {
  const moved = await moveJob(db, job, move);
  if (!moved) throw new Error(`job ${job.job_id} changed under its lock`);
  return moved;
}
