import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { sql } from 'kysely';
import { formatError } from '../../../lib/errors.ts';
import type { Database } from '../../../lib/database/database.ts';
import { migrate } from '../../../lib/database/migrate.ts';
import type { Migration } from '../../../lib/database/migration.ts';
import type { MigrationSchema } from '../../../lib/database/migration-table.ts';
import { migrationPlan, requireSchema, schemaState } from '../../../lib/database/schema-state.ts';
import { forEachDatabase } from '../../lab/databases.ts';
import { slowMigrations } from './crashing-migration.ts';

const run = promisify(execFile);

interface Schema extends MigrationSchema {
  job: { id: string; vo: string };
  cache: { id: string; n: number };
}

const jobs: Migration = {
  id: '0001-jobs',
  owner: 'server',
  class: 'stable',
  readableBy: 1,
  up: async (db, types) => {
    await db.schema
      .createTable('job')
      .addColumn('id', types.id, column => column.primaryKey().notNull())
      .addColumn('vo', types.text, column => column.notNull())
      .execute();
    await db.schema.createIndex('job_vo').on('job').columns(['vo', 'id']).execute();
    await db.insertInto('job').values({ id: 'a', vo: 'atlas' }).execute();
  },
};

const caches: Migration = {
  id: '0002-caches',
  owner: 'server',
  class: 'volatile',
  readableBy: 1,
  up: async (db, types) => {
    await db.schema
      .createTable('cache')
      .addColumn('id', types.id, column => column.primaryKey().notNull())
      .addColumn('n', types.bigint, column => column.notNull().defaultTo(7))
      .execute();
    await db.insertInto('cache').columns(['id']).expression(db.selectFrom('job').select('id')).execute();
  },
};

const code = (expected: string) => (error: unknown) => {
  assert.equal((error as { code: string }).code, expected, formatError(error));
  return true;
};

const contents = async ({ db }: Database<Schema>) => ({
  job: await db.selectFrom('job').selectAll().execute(),
  cache: await db.selectFrom('cache').selectAll().execute(),
});
const whole = { job: [{ id: 'a', vo: 'atlas' }], cache: [{ id: 'a', n: 7 }] };

forEachDatabase((dialect, databaseTest) => {
  databaseTest('applies what is missing, in order, once', async ({ open }) => {
    const database = await open<Schema>();
    assert.deepEqual((await schemaState(database, [jobs, caches])).missing, ['0001-jobs', '0002-caches']);
    await assert.rejects(requireSchema(database, [jobs, caches]), code('E_SCHEMA_OUTDATED'));
    assert.deepEqual(await migrate(database, [jobs]), { applied: ['0001-jobs'] });
    assert.deepEqual(await migrate(database, [jobs, caches]), { applied: ['0002-caches'] });
    assert.deepEqual(await migrate(database, [jobs, caches]), { applied: [] });
    assert.deepEqual(await contents(database), whole);
    assert.deepEqual(await requireSchema(database, [jobs, caches]), {
      ready: true,
      applied: ['0001-jobs', '0002-caches'],
      missing: [],
      changed: [],
      ahead: [],
      unknown: [],
    });
    const rows = await database.db.selectFrom('schema_migration').selectAll().orderBy('id').execute();
    assert.deepEqual(
      rows.map(row => [row.id, row.owner, row.class, row.readable_by]),
      [
        ['0001-jobs', 'server', 'stable', 1],
        ['0002-caches', 'server', 'volatile', 1],
      ],
    );
    for (const row of rows) assert.ok(Math.abs(row.applied_ms! - Date.now()) < 60_000);
  });

  databaseTest('the plan shows this database its statements, and changes nothing', async ({ open }) => {
    const database = await open<Schema>();
    await migrate(database, [jobs]);
    const plan = await migrationPlan(database, [jobs, caches]);
    assert.deepEqual(
      plan.map(step => [step.id, step.state, step.statements.length]),
      [
        ['0001-jobs', 'applied', 0],
        ['0002-caches', 'missing', 2],
      ],
    );
    assert.match(
      plan[1]!.statements[0]!,
      dialect === 'mariadb' ? /^create table `cache`/ : /^create table "cache"/,
    );
    assert.deepEqual((await schemaState(database, [jobs, caches])).missing, ['0002-caches']);
  });

  databaseTest('an applied migration that reads differently is refused', async ({ open }) => {
    const database = await open<Schema>();
    await migrate(database, [jobs]);
    const edited: Migration = {
      ...jobs,
      up: async (db, types) => {
        await jobs.up(db, types);
        await db.schema.createIndex('job_more').on('job').column('vo').execute();
      },
    };
    await assert.rejects(migrate(database, [edited, caches]), code('E_MIGRATION_CHANGED'));
    await assert.rejects(requireSchema(database, [edited]), code('E_MIGRATION_CHANGED'));
    const state = await schemaState(database, [edited, caches]);
    assert.deepEqual([state.ready, state.changed, state.missing], [false, ['0001-jobs'], ['0002-caches']]);
    await requireSchema(database, [jobs]);
  });

  databaseTest(
    'the schema of a newer release is refused with words, unless declared readable',
    async ({ open }) => {
      const database = await open<Schema>();
      const breaking: Migration = { ...caches, readableBy: 2 };
      await migrate(database, [jobs, breaking]);
      for (const older of [() => migrate(database, [jobs]), () => requireSchema(database, [jobs])]) {
        await assert.rejects(older(), error => {
          assert.match(formatError(error), /newer release[^]*0002-caches[^]*fix: /);
          return code('E_SCHEMA_UNKNOWN')(error);
        });
      }
      await database.db
        .updateTable('schema_migration')
        .set({ readable_by: 1 })
        .where('id', '=', breaking.id)
        .execute();
      const state = await requireSchema(database, [jobs]);
      assert.deepEqual([state.ready, state.ahead, state.unknown], [true, ['0002-caches'], []]);
      assert.deepEqual(await migrate(database, [jobs]), { applied: [] });
    },
  );

  databaseTest('servers that start at once do not collide', async ({ open }) => {
    const handles = await Promise.all(Array.from({ length: 4 }, () => open<Schema>()));
    const results = await Promise.all(handles.map(database => migrate(database, [jobs, caches])));
    assert.deepEqual(
      results.map(({ applied }) => applied.length).toSorted((a, b) => a - b),
      [0, 0, 0, 2],
    );
    assert.deepEqual(await contents(handles[0]!), whole);
  });

  databaseTest('a migration that breaks off is taken up again where it stood', async ({ open }) => {
    const database = await open<Schema>();
    // In the way of the second migration's table.
    await sql`create table cache (x integer)`.execute(database.db);
    await assert.rejects(migrate(database, [jobs, caches]), error => {
      assert.match(formatError(error), /migration 0002-caches, statement 1[^]*found: create table/);
      return code('E_MIGRATION_FAILED')(error);
    });
    await sql`drop table cache`.execute(database.db);
    // Whole migrations before it stay on MariaDB; elsewhere the whole run was one transaction.
    const missing = dialect === 'mariadb' ? ['0002-caches'] : ['0001-jobs', '0002-caches'];
    assert.deepEqual((await schemaState(database, [jobs, caches])).missing, missing);
    assert.deepEqual(await migrate(database, [jobs, caches]), { applied: missing });
    assert.deepEqual(await contents(database), whole);
  });

  databaseTest(
    'a process killed in the middle leaves a schema that the next one completes',
    async ({ open, url }) => {
      const script = new URL('crashing-migration.ts', import.meta.url).pathname;
      await assert.rejects(run(process.execPath, [script, url], { timeout: 10_000 }), error => {
        assert.equal((error as { signal?: string }).signal, 'SIGKILL');
        return true;
      });
      const database = await open<{ second: { id: string } }>();
      const migrations = slowMigrations(dialect);
      assert.equal((await schemaState(database, migrations)).ready, false);
      await migrate(database, migrations);
      assert.equal((await schemaState(database, migrations)).ready, true);
      assert.deepEqual(await database.db.selectFrom('second').selectAll().orderBy('id').execute(), [
        { id: 'at the end' },
        { id: 'once' },
      ]);
    },
  );

  if (dialect !== 'mariadb') return;

  databaseTest('a crash after a statement and before its record does not do it twice', async ({ open }) => {
    const database = await open<Schema>();
    await migrate(database, [jobs, caches]);
    // As the crash would have left it, at the create table and at the create index of 0001-jobs.
    for (const step of [1, 2]) {
      await database.db
        .updateTable('schema_migration')
        .set({ steps_done: step - 1, step_begun: step, applied_ms: null })
        .where('id', '=', '0001-jobs')
        .execute();
      if (step === 1) await sql`drop index job_vo on job`.execute(database.db);
      await database.db.deleteFrom('job').execute();
      assert.deepEqual(await migrate(database, [jobs, caches]), { applied: ['0001-jobs'] });
      assert.deepEqual(await contents(database), whole);
    }
  });

  databaseTest('a lock that stays taken is E_TIMEOUT', async ({ open }) => {
    const [one, other] = [await open<Schema>(), await open<Schema>()];
    await one.db.connection().execute(async connection => {
      const name = sql`concat('pilotage-migrate-', left(sha2(database(), 256), 32))`;
      await sql`select get_lock(${name}, 0)`.execute(connection);
      await assert.rejects(migrate(other, [jobs], { lockSeconds: 0 }), code('E_TIMEOUT'));
      await sql`do release_lock(${name})`.execute(connection);
    });
    assert.deepEqual(await migrate(other, [jobs]), { applied: ['0001-jobs'] });
  });
});
