import type { Executor } from '../schema.ts';

export interface ListedSubmission {
  submission_id: string;
  state: string;
  pilot_id: string | null;
  jobs_done: number | null;
}

/** A factory's submissions in a queue, newest first, with what their pilots did. */
export const listSubmissions = (
  db: Executor,
  filter: { queue: string; factory: string; before?: string | undefined; limit: number },
): Promise<ListedSubmission[]> =>
  db
    .selectFrom('submission')
    .leftJoin('pilot', 'pilot.pilot_id', 'submission.pilot_id')
    .select([
      'submission.submission_id as submission_id',
      'submission.state as state',
      'submission.pilot_id as pilot_id',
      'pilot.jobs_done as jobs_done',
    ])
    .where('submission.queue', '=', filter.queue)
    .where('submission.factory', '=', filter.factory)
    .$if(filter.before !== undefined, query => query.where('submission.submission_id', '<', filter.before!))
    .orderBy('submission.submission_id', 'desc')
    .limit(filter.limit)
    .execute();
