import type { ParsedBody } from '../../lib/protocol.ts';
import type { PilotCommand } from '../../lib/protocol/job.ts';
import type { PilotCaller } from '../policy/caller.ts';
import { acknowledgeCommands } from '../queries/acknowledge-commands.ts';
import { listPendingCommands } from '../queries/list-pending-commands.ts';
import { renewAttempt } from '../queries/renew-attempt.ts';
import { inTransaction, toMs } from './context.ts';
import type { ServerContext } from './context.ts';
import { attemptOver, lockOwnAttempt, requirePilotPlace } from './fencing.ts';
import { moveLockedJob } from './move-job.ts';
import { storableText } from './storable-text.ts';

/**
 * Progress of an attempt: renews its lease and its pilot's, and brings back the commands that wait for it. Repeating one
 * does no harm, so that nothing is stored for its idempotency key.
 *
 * @throws E_NOT_FOUND, E_FENCED, E_JOB_GONE, E_ILLEGAL_TRANSITION.
 */
export function heartbeat(
  context: ServerContext,
  caller: PilotCaller,
  attemptId: string,
  body: ParsedBody<'heartbeat'>,
): Promise<{ leaseSeconds: number; commands: PilotCommand[] }> {
  return inTransaction(context, async (trx, moment) => {
    await requirePilotPlace(context, trx, caller, moment);
    const { attempt, job } = await lockOwnAttempt(trx, caller, attemptId, body.incarnation, moment);
    if (attempt.ended_ms !== null) throw attemptOver(attempt, job);
    if (job.state !== body.state) {
      await moveLockedJob(trx, job, { to: body.state, atMs: moment.atMs, actor: caller.name });
    }
    const { leaseSeconds } = context.settings;
    await renewAttempt(trx, attemptId, {
      state: body.state,
      lease_until_ms: moment.atMs + toMs(leaseSeconds),
      ...(body.usage && { usage_json: JSON.stringify(body.usage) }),
      ...(body.tail && {
        tail_stdout: storableText(body.tail.stdout, 8192),
        tail_stderr: storableText(body.tail.stderr, 8192),
      }),
    });
    await acknowledgeCommands(trx, attemptId, body.acknowledged, moment.atMs);
    const commands = await listPendingCommands(trx, attemptId);
    return {
      leaseSeconds,
      commands: commands.map(({ command_id, verb, reason }) => ({
        id: command_id,
        verb: verb as PilotCommand['verb'],
        reason,
      })),
    };
  });
}
