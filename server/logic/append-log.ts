import { wireError } from '../../lib/problem.ts';
import type { ParsedBody } from '../../lib/protocol.ts';
import type { PilotCaller } from '../policy/caller.ts';
import { findLogEnd } from '../queries/find-log-end.ts';
import { insertLogChunk } from '../queries/insert-log-chunk.ts';
import { insertLogEnd } from '../queries/insert-log-end.ts';
import { updateLogEnd } from '../queries/update-log-end.ts';
import { inTransaction } from './context.ts';
import type { ServerContext } from './context.ts';
import { attemptOver, lockOwnAttempt, requirePilotPlace } from './fencing.ts';

/**
 * Takes a piece of an attempt's output. Pieces come in order; one that is known already, or overlaps, is cut; one that
 * would leave a gap is not taken, and the answer says where to go on. What exceeds the job's or the server's bound is
 * counted and dropped.
 *
 * @returns the next byte that is expected. @throws E_NOT_FOUND, E_FENCED, E_BAD_REQUEST.
 */
export async function appendLog(
  context: ServerContext,
  caller: PilotCaller,
  attemptId: string,
  body: ParsedBody<'appendLog'>,
): Promise<{ nextOffset: number }> {
  const data = decode(body.data);
  return inTransaction(context, async (trx, moment) => {
    await requirePilotPlace(context, trx, caller, moment);
    const { attempt, job } = await lockOwnAttempt(trx, caller, attemptId, body.incarnation, moment);
    if (attempt.state === 'lost') throw attemptOver(attempt, job);
    const known = await findLogEnd(trx, attemptId, body.stream);
    const nextByte = known?.next_byte ?? 0;
    if (known?.complete || body.offset > nextByte) return { nextOffset: nextByte };
    const end = Math.max(nextByte, body.offset + data.length);
    const keepBytes = Math.min(job.log_bytes, context.settings.limits.logBytes);
    const fresh = data.subarray(nextByte - body.offset, Math.max(0, keepBytes - body.offset));
    if (fresh.length > 0) {
      await insertLogChunk(trx, {
        attempt_id: attemptId,
        stream: body.stream,
        start_byte: nextByte,
        data: fresh.toString('base64'),
      });
    }
    const row = {
      attempt_id: attemptId,
      stream: body.stream,
      next_byte: end,
      complete: body.last ? 1 : 0,
    };
    await (known ? updateLogEnd(trx, row) : insertLogEnd(trx, row));
    return { nextOffset: end };
  });
}

function decode(base64: string): Buffer {
  const data = Buffer.from(base64, 'base64');
  if (data.toString('base64') === base64) return data;
  throw wireError('E_BAD_REQUEST', 'The piece of log is not base64.', {
    where: 'body.data',
    expected: 'base64 with padding, without line breaks',
    fix: 'Encode the bytes as RFC 4648 section 4 says.',
  });
}
