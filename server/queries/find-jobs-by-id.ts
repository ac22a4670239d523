import type { Executor } from '../schema.ts';

export interface KnownJob {
  job_id: string;
  owner: string;
  definition_sha256: string;
  state: string;
}

/** Which of these ids are taken, and by what; at most 1,000 ids. */
export const findJobsById = async (db: Executor, jobIds: readonly string[]): Promise<KnownJob[]> =>
  jobIds.length === 0
    ? []
    : db
        .selectFrom('job')
        .select(['job_id', 'owner', 'definition_sha256', 'state'])
        .where('job_id', 'in', jobIds)
        .execute();
