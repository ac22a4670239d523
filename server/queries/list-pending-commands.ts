import type { Executor, ServerTables } from '../schema.ts';

/** Commands of an attempt that its pilot has not acknowledged, oldest first, at most 100. */
export const listPendingCommands = (db: Executor, attemptId: string): Promise<ServerTables['command'][]> =>
  db
    .selectFrom('command')
    .selectAll()
    .where('attempt_id', '=', attemptId)
    .where('acknowledged_ms', 'is', null)
    .orderBy('command_id')
    .limit(100)
    .execute();
