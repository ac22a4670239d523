import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sql } from 'kysely';
import { checkMigrations, productLevel } from '../../../../lib/database/migration.ts';
import type { Migration } from '../../../../lib/database/migration.ts';
import {
  changesRowsOnly,
  migrationChecksum,
  statementsFor,
} from '../../../../lib/database/record-statements.ts';
import { schemaOwners } from '../../../../lib/database/schema-state.ts';

const step = (id: string, parts: Partial<Migration> = {}): Migration => ({
  id,
  owner: 'server',
  class: 'stable',
  readableBy: 1,
  up: async () => {},
  ...parts,
});

test('a list that no product may ship is a defect', () => {
  checkMigrations([step('0001-a'), step('0002-b'), step('0001-c', { owner: 'other' })]);
  for (const [list, message] of [
    [[step('1-a')], /not like 0001-jobs/],
    [[step('0001-a'), step('0001-a')], /twice/],
    [[step('0002-a'), step('0001-b')], /must grow/],
    [[step('0001-a', { readableBy: 2 })], /readableBy/],
  ] as const) {
    assert.throws(() => checkMigrations(list), message);
  }
});

test("the level is the owner's highest number", () => {
  const list = [step('0001-a'), step('0003-b'), step('0007-c', { owner: 'other' })];
  assert.deepEqual(
    [productLevel(list, 'server'), productLevel(list, 'other'), productLevel(list, 'none')],
    [3, 7, 0],
  );
});

const table = step('0001-a', {
  up: async (db, types) => {
    await db.schema.createTable('job').addColumn('id', types.id).addColumn('at', types.epochMs).execute();
    await db.insertInto('job').values({ id: 'x', at: types.nowMs }).execute();
  },
});

test('the checksum is of what is done, not of how it is written', async () => {
  const sameElsewhere = step('0001-a', {
    up: async (database, columns) => {
      const create = database.schema.createTable('job');
      await create.addColumn('id', columns.id).addColumn('at', columns.epochMs).execute();
      await database.insertInto('job').values({ id: 'x', at: columns.nowMs }).execute();
    },
  });
  assert.equal(await migrationChecksum(table), await migrationChecksum(sameElsewhere));
  // Pinned: a checksum that changed with a release would refuse every database made before.
  assert.equal(
    await migrationChecksum(table),
    '2623c43ef5bde3fcb872b06c140dbcb40b5958ed2826370fecae3c47190d5e01',
  );
  const otherType = step('0001-a', {
    up: async (db, types) => {
      await db.schema.createTable('job').addColumn('id', types.text).addColumn('at', types.epochMs).execute();
      await db.insertInto('job').values({ id: 'x', at: types.nowMs }).execute();
    },
  });
  const otherValue = step('0001-a', {
    up: async (db, types) => {
      await db.schema.createTable('job').addColumn('id', types.id).addColumn('at', types.epochMs).execute();
      await db.insertInto('job').values({ id: 'y', at: types.nowMs }).execute();
    },
  });
  const sums = await Promise.all([table, otherType, otherValue].map(migrationChecksum));
  assert.equal(new Set(sums).size, 3);
});

test('each dialect gets its own types', async () => {
  const texts = await Promise.all(
    (['sqlite', 'postgres', 'mariadb'] as const).map(
      async name => (await statementsFor(table, name))[0]!.sql,
    ),
  );
  assert.deepEqual(texts, [
    'create table "job" ("id" text, "at" integer)',
    'create table "job" ("id" varchar(64) collate "C", "at" bigint)',
    'create table `job` (`id` varchar(64) character set utf8mb4 collate utf8mb4_nopad_bin, `at` bigint)',
  ]);
});

test('a migration cannot read', async () => {
  const builder = step('0001-a', { up: async db => void (await db.selectFrom('job').selectAll().execute()) });
  await assert.rejects(migrationChecksum(builder), /cannot read/);
  const raw = step('0001-a', { up: async db => void (await sql`select 1`.execute(db)) });
  await assert.rejects(migrationChecksum(raw), /cannot read/);
});

test('statements that change rows are told from those that change the schema', async () => {
  const mixed = step('0001-a', {
    up: async db => {
      await db.schema.createTable('job').addColumn('id', 'text').execute();
      await db.deleteFrom('job').execute();
      await sql`  UPDATE job set id = ${'x'}`.execute(db);
      await sql`alter table job rename to work`.execute(db);
    },
  });
  const statements = await statementsFor(mixed, 'mariadb');
  assert.deepEqual(statements.map(changesRowsOnly), [false, true, true, false]);
});

test('owners are read off the migrations', async () => {
  assert.deepEqual(await schemaOwners([table, step('0002-b')]), [
    { table: 'job', owner: 'server', class: 'stable', migration: '0001-a' },
  ]);
});
