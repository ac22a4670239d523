import type * as z from 'zod';
import type { Routes } from '../../lib/protocol.ts';
import type { JobView } from '../../lib/protocol/job.ts';
import { authorizeOn } from '../policy/authorize.ts';
import { vosOf } from '../policy/caller.ts';
import type { UserCaller } from '../policy/caller.ts';
import { listJobs as queryJobs } from '../queries/list-jobs.ts';
import type { ServerContext } from './context.ts';
import { jobView } from './job-view.ts';

/** Jobs of the caller's VOs, newest first. @throws E_NOT_IN_VO, E_NOT_ALLOWED. */
export async function listJobs(
  context: ServerContext,
  caller: UserCaller,
  query: z.output<Routes['listJobs']['query']>,
): Promise<{ jobs: JobView[]; nextCursor: string | null }> {
  const { vo, queue, group, state, cursor, limit } = query;
  if (vo !== undefined) authorizeOn(caller, 'read', { vo });
  const vos = vo === undefined ? vosOf(caller) : [vo];
  const rows = await queryJobs(context.database.db, { vos, queue, group, state, before: cursor, limit });
  return {
    jobs: rows.map(jobView),
    nextCursor: rows.length < limit ? null : (rows.at(-1)?.job_id ?? null),
  };
}
