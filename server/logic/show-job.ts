import type { ReplyBody } from '../../lib/protocol.ts';
import type { JobDefinition } from '../../lib/protocol/job.ts';
import type { Caller } from '../policy/caller.ts';
import { listAttempts } from '../queries/list-attempts.ts';
import { listJobEvents } from '../queries/list-job-events.ts';
import { inTransaction } from './context.ts';
import type { ServerContext } from './context.ts';
import { attemptView, jobView } from './job-view.ts';
import { requireReadableJob } from './visible-job.ts';

/** One job with its definition, attempts and history. @throws E_NOT_FOUND, E_NOT_ALLOWED. */
export function showJob(
  context: ServerContext,
  caller: Caller,
  jobId: string,
): Promise<Omit<ReplyBody<'showJob'>, 'serverTimeMs' | 'instance'>> {
  return inTransaction(context, async trx => {
    const job = await requireReadableJob(trx, caller, jobId);
    const events = await listJobEvents(trx, jobId);
    return {
      job: jobView(job),
      definition: JSON.parse(job.definition) as JobDefinition,
      definitionSha256: job.definition_sha256,
      attempts: (await listAttempts(trx, jobId)).map(attemptView),
      events: events.map(event => ({
        atMs: event.at_ms,
        from: event.from_state,
        to: event.to_state,
        by: event.actor,
        note: event.note,
      })),
    };
  });
}
