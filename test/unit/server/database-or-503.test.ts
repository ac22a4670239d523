import assert from 'node:assert/strict';
import { sql } from 'kysely';
import { databaseOr503 } from '../../../server/routes/database-or-503.ts';
import { forEachDatabase } from '../../lab/databases.ts';

interface Tables {
  thing: { id: number; value: number };
}

forEachDatabase((_dialect, databaseTest) => {
  databaseTest('what others hold for too long is to be asked for again, not a failure', async database => {
    const holder = await database.open<Tables>();
    await sql`create table thing (id integer primary key, value integer)`.execute(holder.db);
    await sql`insert into thing values (1, 1)`.execute(holder.db);
    const busy = await database.open<Tables>({ lockMilliseconds: 50 });
    const write = (db: typeof holder.db) => db.updateTable('thing').set({ value: 2 }).execute();
    await holder.transaction(async trx => {
      await write(trx);
      const refused = databaseOr503(() => busy.transaction(inner => write(inner)));
      await assert.rejects(refused, { code: 'E_NOT_READY', message: 'The database is too busy now.' });
    });
    await assert.rejects(
      databaseOr503(() => sql`insert into thing values (1, 1)`.execute(busy.db)),
      (error: Error) => error.name !== 'PilotageError',
    );
  });
});
