import type { AttemptRow, Executor } from '../schema.ts';

export type AttemptEnd = Pick<AttemptRow, 'state' | 'ended_ms'> &
  Partial<
    Pick<
      AttemptRow,
      | 'cause_code'
      | 'cause_text'
      | 'usage_json'
      | 'outputs_json'
      | 'release_json'
      | 'receipt_json'
      | 'result_sha256'
      | 'result_accepted'
      | 'result_job_state'
      | 'tail_stdout'
      | 'tail_stderr'
    >
  >;

/** Writes how an attempt ended; under its job's lock. */
export async function endAttemptRow(db: Executor, attemptId: string, end: AttemptEnd): Promise<void> {
  await db.updateTable('attempt').set(end).where('attempt_id', '=', attemptId).execute();
}
