import type { AttemptRow, Executor } from '../schema.ts';

/** The lease a pilot was given and never used: its acquire's answer was probably lost. */
export const findUnheardAttempt = (db: Executor, pilotId: string): Promise<AttemptRow | undefined> =>
  db
    .selectFrom('attempt')
    .selectAll()
    .where('pilot_id', '=', pilotId)
    .where('ended_ms', 'is', null)
    .where('heartbeats', '=', 0)
    .orderBy('attempt_id')
    .limit(1)
    .executeTakeFirst();
