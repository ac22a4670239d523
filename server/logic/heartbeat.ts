import { newId } from '../../lib/ids.ts';
import type { ParsedBody } from '../../lib/protocol.ts';
import type { PilotCommand } from '../../lib/protocol/job.ts';
import type { PilotCaller } from '../policy/caller.ts';
import { acknowledgeCommands } from '../queries/acknowledge-commands.ts';
import { findCommand } from '../queries/find-command.ts';
import { insertCommand } from '../queries/insert-command.ts';
import { listPendingCommands } from '../queries/list-pending-commands.ts';
import type { Moment } from '../queries/read-moment.ts';
import { renewAttempt } from '../queries/renew-attempt.ts';
import type { AttemptRow } from '../schema.ts';
import { inTransaction, toMs } from './context.ts';
import type { ServerContext, Trx } from './context.ts';
import { attemptOver, lockOwnAttempt, requirePilotPlace } from './fencing.ts';
import { moveLockedJob } from './move-job.ts';
import { killedReleaseOf, revocationText } from './revoked-release.ts';
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
    const killed = await endKilledRelease(context, trx, attempt, moment);
    const commands = await listPendingCommands(trx, attemptId);
    return {
      leaseSeconds,
      commands: commands.map(({ command_id, verb, reason }) => ({
        id: command_id,
        verb: verb as PilotCommand['verb'],
        reason,
        because: killed && verb === 'kill' ? 'release-revoked' : null,
      })),
    };
  });
}

/** A release that was killed ends with its payload: the command is given once, however often the pilot reports. */
async function endKilledRelease(
  context: ServerContext,
  trx: Trx,
  attempt: AttemptRow,
  moment: Moment,
): Promise<boolean> {
  const killed = await killedReleaseOf(context, trx, attempt);
  if (killed === undefined) return false;
  if ((await findCommand(trx, attempt.attempt_id, 'kill')) === undefined) {
    await insertCommand(trx, {
      command_id: newId(),
      attempt_id: attempt.attempt_id,
      job_id: attempt.job_id,
      verb: 'kill',
      reason: revocationText(killed),
      created_ms: moment.atMs,
      acknowledged_ms: null,
    });
  }
  return true;
}
