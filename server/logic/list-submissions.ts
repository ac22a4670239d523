import type { ReplyBody, Routes } from '../../lib/protocol.ts';
import type * as z from 'zod';
import type { UserCaller } from '../policy/caller.ts';
import { listSubmissions as querySubmissions } from '../queries/list-submissions.ts';
import type { ServerContext } from './context.ts';
import { requireQueueFor } from './require-queue.ts';

type Reply = Omit<ReplyBody<'listSubmissions'>, 'serverTimeMs' | 'instance'>;

/** What became of a factory's submissions, newest first. @throws E_NOT_FOUND, E_NOT_ALLOWED. */
export async function listSubmissions(
  context: ServerContext,
  caller: UserCaller,
  name: string,
  query: z.output<Routes['listSubmissions']['query']>,
): Promise<Reply> {
  const { db } = context.database;
  await requireQueueFor(db, caller, 'submission', name);
  const { factory, cursor, limit } = query;
  const rows = await querySubmissions(db, { queue: name, factory, before: cursor, limit });
  return {
    submissions: rows.map(row => ({
      submissionId: row.submission_id,
      state: row.state as Reply['submissions'][number]['state'],
      pilotId: row.pilot_id,
      jobsDone: row.jobs_done ?? 0,
    })),
    nextCursor: rows.length < limit ? null : (rows.at(-1)?.submission_id ?? null),
  };
}
