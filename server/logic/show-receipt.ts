import { PilotageError } from '../../lib/errors.ts';
import { wireError } from '../../lib/problem.ts';
import type { Receipt } from '../../lib/protocol/job.ts';
import type { Caller } from '../policy/caller.ts';
import { findAttempt } from '../queries/find-attempt.ts';
import type { ServerContext } from './context.ts';
import { requireReadableJob } from './visible-job.ts';

const noSuchAttempt = (attemptId: string) =>
  wireError('E_NOT_FOUND', 'There is no such attempt in your VOs.', {
    where: `attempt ${attemptId}`,
    rule: 'vo-isolation',
    fix: 'The job record lists its attempts.',
  });

/**
 * The receipt an attempt ended with, null while it has none. An attempt that the caller may not see is not told from one
 * that does not exist, nor is its job named.
 *
 * @throws E_NOT_FOUND, E_NOT_ALLOWED.
 */
export async function showReceipt(
  context: ServerContext,
  caller: Caller,
  attemptId: string,
): Promise<{ receipt: Receipt | null }> {
  const { db } = context.database;
  const attempt = await findAttempt(db, attemptId);
  if (!attempt) throw noSuchAttempt(attemptId);
  try {
    await requireReadableJob(db, caller, attempt.job_id);
  } catch (error) {
    throw error instanceof PilotageError && error.code === 'E_NOT_FOUND' ? noSuchAttempt(attemptId) : error;
  }
  return { receipt: attempt.receipt_json === null ? null : (JSON.parse(attempt.receipt_json) as Receipt) };
}
