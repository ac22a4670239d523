import type { Executor, SubmissionRow } from '../schema.ts';

/** One submission by id. */
export const findSubmission = (db: Executor, submissionId: string): Promise<SubmissionRow | undefined> =>
  db.selectFrom('submission').selectAll().where('submission_id', '=', submissionId).executeTakeFirst();
