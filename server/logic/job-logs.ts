import { wireError } from '../../lib/problem.ts';
import type { ReplyBody } from '../../lib/protocol.ts';
import type { Caller } from '../policy/caller.ts';
import { findLogEnd } from '../queries/find-log-end.ts';
import { listAttempts } from '../queries/list-attempts.ts';
import { listLogChunks } from '../queries/list-log-chunks.ts';
import type { AttemptRow, Executor } from '../schema.ts';
import type { ServerContext } from './context.ts';
import { requireReadableJob } from './visible-job.ts';

/** The newest bytes of a stream that one answer holds. */
const REPLY_BYTES = 8 << 20;
/** More than one piece of log holds (base64 of at most 1 MiB). */
const CHUNK_BYTES = 1 << 20;

/**
 * Output of a job's newest attempt, or of a named one: what was uploaded, else the tails of its heartbeats.
 *
 * @throws E_NOT_FOUND, E_NOT_ALLOWED.
 */
export async function jobLogs(
  context: ServerContext,
  caller: Caller,
  jobId: string,
  attemptId: string | undefined,
): Promise<Omit<ReplyBody<'jobLogs'>, 'serverTimeMs' | 'instance'>> {
  const { db } = context.database;
  await requireReadableJob(db, caller, jobId);
  const attempts = await listAttempts(db, jobId);
  const attempt =
    attemptId === undefined ? attempts.at(-1) : attempts.find(one => one.attempt_id === attemptId);
  if (!attempt) {
    if (attemptId === undefined) return { attemptId: null, stdout: '', stderr: '', complete: false };
    throw wireError('E_NOT_FOUND', 'The job has no such attempt.', {
      where: `attempt ${attemptId}`,
      fix: 'The job record lists its attempts.',
    });
  }
  const stdout = await readStream(db, attempt, 'stdout');
  const stderr = await readStream(db, attempt, 'stderr');
  return {
    attemptId: attempt.attempt_id,
    stdout: stdout.text,
    stderr: stderr.text,
    complete: stdout.complete && stderr.complete,
  };
}

async function readStream(
  db: Executor,
  attempt: AttemptRow,
  stream: 'stdout' | 'stderr',
): Promise<{ text: string; complete: boolean }> {
  const end = await findLogEnd(db, attempt.attempt_id, stream);
  if (!end) {
    return { text: stream === 'stdout' ? attempt.tail_stdout : attempt.tail_stderr, complete: false };
  }
  const chunks = await listLogChunks(db, attempt.attempt_id, stream, REPLY_BYTES + CHUNK_BYTES);
  const data = Buffer.concat(chunks.map(chunk => Buffer.from(chunk.data, 'base64')));
  const kept = data.subarray(Math.max(0, data.length - REPLY_BYTES));
  return {
    text: kept.toString('utf8'),
    complete: end.complete === 1 && kept.length === end.next_byte,
  };
}
