import { sql } from 'kysely';
import type { DialectName } from '../../../lib/database/dialect.ts';
import { migrate } from '../../../lib/database/migrate.ts';
import type { Migration } from '../../../lib/database/migration.ts';
import { openDatabase } from '../../../lib/database/open-database.ts';

const PAUSES: Record<DialectName, string> = {
  // SQLite has no sleep; there the process is killed before the statements instead.
  sqlite: 'drop table if exists never_there',
  postgres: 'do $$ begin perform pg_sleep(1); end $$',
  mariadb: 'do sleep(1)',
};

/**
 * Two migrations, of which the second takes a second between its statements, so that a process can be killed there.
 *
 * @param onApply called when the second is about to be applied.
 */
export function slowMigrations(dialect: DialectName, onApply: () => void = () => {}): Migration[] {
  let described = 0;
  return [
    {
      id: '0001-first',
      owner: 'test',
      class: 'stable',
      readableBy: 1,
      up: async (db, types) => {
        await db.schema
          .createTable('first')
          .addColumn('id', types.id, column => column.primaryKey().notNull())
          .execute();
      },
    },
    {
      id: '0002-second',
      owner: 'test',
      class: 'volatile',
      readableBy: 1,
      up: async (db, types) => {
        // Once for its checksum, then to run.
        described += 1;
        if (described === 2) onApply();
        await db.schema
          .createTable('second')
          .addColumn('id', types.id, column => column.notNull())
          .execute();
        await db.insertInto('second').values({ id: 'once' }).execute();
        await sql.raw(PAUSES[dialect]).execute(db);
        await db.schema.createIndex('second_id').on('second').column('id').execute();
        await db.insertInto('second').values({ id: 'at the end' }).execute();
      },
    },
  ];
}

/** As a program of its own, `node crashing-migration.ts URL`: kills itself in the middle of the second migration. */
if (import.meta.main) {
  const database = await openDatabase(process.argv[2]!);
  const die = () => process.kill(process.pid, 'SIGKILL');
  await migrate(
    database,
    slowMigrations(database.dialect, () => {
      if (database.dialect === 'sqlite') die();
      else setTimeout(die, 300);
    }),
  );
  await database.close();
}
