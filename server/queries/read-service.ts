import type { Executor, ServerTables } from '../schema.ts';

/** The one row about this database, undefined before a server first opened it. */
export const readService = (db: Executor): Promise<ServerTables['service'] | undefined> =>
  db.selectFrom('service').selectAll().where('id', '=', 1).executeTakeFirst();
