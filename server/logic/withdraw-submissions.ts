import type { ParsedBody } from '../../lib/protocol.ts';
import type { UserCaller } from '../policy/caller.ts';
import { withdrawOpenSubmissions } from '../queries/withdraw-open-submissions.ts';
import type { ServerContext } from './context.ts';
import { once } from './once.ts';
import { requireQueueFor } from './require-queue.ts';

/**
 * Takes submission ids back that were never started; those that a pilot enrolled with stay.
 *
 * @returns the ids that are withdrawn now. @throws E_NOT_FOUND, E_NOT_ALLOWED.
 */
export function withdrawSubmissions(
  context: ServerContext,
  caller: UserCaller,
  key: string,
  name: string,
  body: ParsedBody<'withdrawSubmissions'>,
): Promise<{ withdrawn: string[] }> {
  const request = {
    caller: caller.name,
    route: 'withdrawSubmissions' as const,
    key,
    request: { name, body },
  };
  return once(context, request, async trx => {
    await requireQueueFor(trx, caller, 'submission', name, true);
    return { withdrawn: await withdrawOpenSubmissions(trx, name, body.factory, body.submissionIds) };
  });
}
