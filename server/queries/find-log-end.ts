import type { Executor } from '../schema.ts';

/** How far a stream of an attempt's output has been received. */
export const findLogEnd = (
  db: Executor,
  attemptId: string,
  stream: string,
): Promise<{ next_byte: number; complete: number } | undefined> =>
  db
    .selectFrom('attempt_log_end')
    .select(['next_byte', 'complete'])
    .where('attempt_id', '=', attemptId)
    .where('stream', '=', stream)
    .executeTakeFirst();
