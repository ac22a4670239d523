import { newId } from '../../lib/ids.ts';
import type { ParsedBody } from '../../lib/protocol.ts';
import type { Floors } from '../../lib/protocol/release.ts';
import type { UserCaller } from '../policy/caller.ts';
import { countPilots } from '../queries/count-pilots.ts';
import { insertSubmissions } from '../queries/insert-submissions.ts';
import { sha256Hex } from './canonical-sha256.ts';
import { toMs } from './context.ts';
import type { ServerContext } from './context.ts';
import { once } from './once.ts';
import { requireQueueFor } from './require-queue.ts';
import { submissionSecret } from './submission-secret.ts';

interface Created {
  submissions: { submissionId: string; secret: string; validSeconds: number }[];
  floors: Floors | null;
}

/**
 * Hands out submission ids with their one-time secrets, fewer than asked for, or none, where open submissions and working
 * pilots fill the queue's cap. A repeated request gets the same secrets; they are made again, as none is stored.
 *
 * @throws E_NOT_FOUND, E_NOT_ALLOWED.
 */
export function createSubmissions(
  context: ServerContext,
  caller: UserCaller,
  key: string,
  name: string,
  body: ParsedBody<'createSubmissions'>,
): Promise<Created> {
  const request = { caller: caller.name, route: 'createSubmissions' as const, key, request: { name, body } };
  const reply = (submissionIds: string[], incarnation: string): Created => ({
    submissions: submissionIds.map(submissionId => ({
      submissionId,
      secret: submissionSecret(context.secretKey, submissionId, incarnation),
      validSeconds: body.validSeconds,
    })),
    floors: context.releases.current(),
  });
  return once<Created>(
    context,
    request,
    async (trx, moment) => {
      const queue = await requireQueueFor(trx, caller, 'submission', name, true);
      const { working, open } = await countPilots(trx, name, moment.atMs);
      const cap = queue.retired ? 0 : queue.max_pilots;
      const count = Math.max(
        0,
        Math.min(body.count, context.settings.limits.submissionsPerCall, cap - open - working),
      );
      const submissionIds = Array.from({ length: count }, () => newId());
      const { submissions } = reply(submissionIds, moment.incarnation);
      await insertSubmissions(
        trx,
        submissions.map(({ submissionId, secret }) => ({
          submission_id: submissionId,
          vo: queue.vo,
          queue: name,
          factory: body.factory,
          secret_sha256: sha256Hex(secret),
          incarnation: moment.incarnation,
          state: 'open',
          pilot_id: null,
          created_ms: moment.atMs,
          valid_until_ms: moment.atMs + toMs(body.validSeconds),
        })),
      );
      return reply(submissionIds, moment.incarnation);
    },
    {
      store: ({ submissions }) => submissions.map(({ submissionId }) => submissionId),
      restore: async (submissionIds: string[], _trx, moment) => reply(submissionIds, moment.incarnation),
    },
  );
}
