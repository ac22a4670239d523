import { sql } from 'kysely';
import type { Executor } from '../schema.ts';

/** The newest pieces of one stream, in order: as many as reach back `bytes` from the last one, and little more. */
export const listLogChunks = (
  db: Executor,
  attemptId: string,
  stream: string,
  bytes: number,
): Promise<{ start_byte: number; data: string }[]> =>
  db
    .selectFrom('attempt_log')
    .select(['start_byte', 'data'])
    .where('attempt_id', '=', attemptId)
    .where('stream', '=', stream)
    .where(
      'start_byte',
      '>=',
      sql<number>`(select max(start_byte) from attempt_log where attempt_id = ${attemptId} and stream = ${stream})
        - ${sql.lit(bytes)}`,
    )
    .orderBy('start_byte')
    .execute();
