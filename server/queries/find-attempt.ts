import type { AttemptRow, Executor } from '../schema.ts';

/** One attempt by id. */
export const findAttempt = (db: Executor, attemptId: string): Promise<AttemptRow | undefined> =>
  db.selectFrom('attempt').selectAll().where('attempt_id', '=', attemptId).executeTakeFirst();
