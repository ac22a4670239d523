import type { Executor, ServerTables } from '../schema.ts';

/** A command of this verb that the attempt was ever given, acknowledged or not. */
export const findCommand = (
  db: Executor,
  attemptId: string,
  verb: string,
): Promise<ServerTables['command'] | undefined> =>
  db
    .selectFrom('command')
    .selectAll()
    .where('attempt_id', '=', attemptId)
    .where('verb', '=', verb)
    .orderBy('command_id')
    .limit(1)
    .executeTakeFirst();
