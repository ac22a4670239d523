import type { Executor, JobRow } from '../schema.ts';

export interface JobFilter {
  /** Only jobs of these VOs; none of them means no jobs. */
  vos: readonly string[];
  queue?: string | undefined;
  group?: string | undefined;
  state?: string | undefined;
  /** Only jobs before this id. */
  before?: string | undefined;
  limit: number;
}

export type ListedJob = Omit<JobRow, 'definition'>;

/** Jobs by id, newest first. */
export async function listJobs(db: Executor, filter: JobFilter): Promise<ListedJob[]> {
  if (filter.vos.length === 0) return [];
  return db
    .selectFrom('job')
    .select([
      'job_id',
      'instance',
      'vo',
      'queue',
      'name',
      'job_group',
      'owner',
      'label',
      'claim_rank',
      'cores',
      'memory_bytes',
      'disk_bytes',
      'wall_seconds',
      'log_bytes',
      'max_attempts',
      'state',
      'cause_code',
      'cause_text',
      'attempts',
      'tries',
      'current_attempt_id',
      'accepted_attempt_id',
      'kill_requested_ms',
      'kill_reason',
      'definition_sha256',
      'submitted_ms',
      'changed_ms',
    ])
    .where('vo', 'in', filter.vos)
    .$if(filter.queue !== undefined, query => query.where('queue', '=', filter.queue!))
    .$if(filter.group !== undefined, query => query.where('job_group', '=', filter.group!))
    .$if(filter.state !== undefined, query => query.where('state', '=', filter.state!))
    .$if(filter.before !== undefined, query => query.where('job_id', '<', filter.before!))
    .orderBy('job_id', 'desc')
    .limit(filter.limit)
    .execute();
}
