import type { Executor } from '../schema.ts';

/** The pieces of one stream in order. */
export const listLogChunks = (
  db: Executor,
  attemptId: string,
  stream: string,
): Promise<{ start_byte: number; data: string }[]> =>
  db
    .selectFrom('attempt_log')
    .select(['start_byte', 'data'])
    .where('attempt_id', '=', attemptId)
    .where('stream', '=', stream)
    .orderBy('start_byte')
    .execute();
