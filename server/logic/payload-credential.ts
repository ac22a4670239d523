import type { ParsedBody } from '../../lib/protocol.ts';
import type { PilotCaller } from '../policy/caller.ts';
import { certifyKey } from './certify-key.ts';
import type { ServerContext } from './context.ts';
import { attemptOver, lockOwnAttempt, requirePilotPlace } from './fencing.ts';
import { once } from './once.ts';

/** Kept for stage-in and stage-out beside the payload's own time. */
const MARGIN_SECONDS = 3600;

/**
 * A certificate for the payload's own key, bound to the attempt: policy lets it read its own job and nothing else.
 *
 * @throws E_NOT_FOUND, E_FENCED, E_JOB_GONE, E_BAD_REQUEST.
 */
export async function payloadCredential(
  context: ServerContext,
  caller: PilotCaller,
  key: string,
  attemptId: string,
  body: ParsedBody<'payloadCredential'>,
): Promise<{ certificateChain: string; validSeconds: number }> {
  const { keySha256 } = await context.issuer.read(body.csr);
  const request = {
    caller: caller.name,
    route: 'payloadCredential' as const,
    key,
    request: { ...body, attemptId, csr: keySha256 },
  };
  return once(context, request, async (trx, moment) => {
    await requirePilotPlace(context, trx, caller, moment);
    const { attempt, job } = await lockOwnAttempt(trx, caller, attemptId, body.incarnation, moment);
    if (attempt.ended_ms !== null) throw attemptOver(attempt, job);
    const validSeconds = job.wall_seconds + MARGIN_SECONDS;
    const holder = {
      kind: 'payload' as const,
      pilotId: caller.pilotId,
      attemptId,
      commonName: `payload ${attemptId}`,
    };
    const parts = { csr: body.csr, keySha256, validSeconds };
    return certifyKey(context, trx, holder, parts, moment);
  });
}
