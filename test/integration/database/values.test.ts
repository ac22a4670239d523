import assert from 'node:assert/strict';
import { sql } from 'kysely';
import { migrate } from '../../../lib/database/migrate.ts';
import type { Migration } from '../../../lib/database/migration.ts';
import { forEachDatabase } from '../../lab/databases.ts';

interface Schema {
  word: { text: string; id: string | null };
  thing: {
    id: string;
    whole: number | null;
    small: number | null;
    at_ms: number | null;
    share: number | null;
    document: string | null;
    long: string | null;
    flag: number | null;
    body: Uint8Array | null;
  };
}

const migrations: Migration[] = [
  {
    id: '0001-values',
    owner: 'test',
    class: 'stable',
    readableBy: 1,
    up: async (db, types) => {
      await db.schema
        .createTable('thing')
        .addColumn('id', types.id, column => column.primaryKey().notNull())
        .addColumn('whole', types.bigint)
        .addColumn('small', types.integer)
        .addColumn('at_ms', types.epochMs)
        .addColumn('share', types.real)
        .addColumn('document', types.json)
        .addColumn('long', types.longText)
        .addColumn('flag', types.bool)
        .addColumn('body', types.bytes)
        .execute();
      await db.schema
        .createTable('word')
        .addColumn('text', types.text, column => column.primaryKey().notNull())
        .addColumn('id', types.id, column => column.references('thing.id'))
        .execute();
    },
  },
];

const nothing = {
  whole: null,
  small: null,
  at_ms: null,
  share: null,
  document: null,
  long: null,
  flag: null,
  body: null,
};
/** With NUL, quotes, backslashes, invalid UTF-8; as large as anybody puts into one value. */
const everyByte = Buffer.from(Array.from({ length: 1 << 20 }, (_, index) => (index * 7) % 256));
const MAX = Number.MAX_SAFE_INTEGER;
/** Alike to some collation or other; each a word of its own to us. In order of their code points. */
const WORDS = [
  '',
  ' ',
  'A',
  'Z',
  'a',
  'a ',
  'a  ',
  'ab',
  'a\u0301',
  'ss',
  'z',
  '\u00df',
  '\u00e1',
  '\u4e2d',
  '\uff41',
  '\u{1f600}',
];

forEachDatabase((_dialect, databaseTest) => {
  databaseTest('every column type returns what was put in', async ({ open }) => {
    const database = await open<Schema>();
    await migrate(database, migrations);
    const rows = [
      { ...nothing, id: '01' },
      {
        id: '02',
        whole: MAX,
        small: 2 ** 31 - 1,
        at_ms: 1_795_000_000_000,
        share: 0.1 + 0.2,
        document: '{"a": [1]}',
        long: '',
        flag: 1,
        body: everyByte,
      },
      {
        id: '03',
        whole: -MAX,
        small: -(2 ** 31),
        at_ms: 0,
        share: -1e300,
        document: '"\\\\ \' \u{1f600}"',
        long: 'x\u00e9'.repeat(500_000),
        flag: 0,
        body: Buffer.alloc(0),
      },
    ];
    await database.db.insertInto('thing').values(rows).execute();
    const found = await database.db.selectFrom('thing').selectAll().orderBy('id').execute();
    const plain = found.map(row => ({ ...row, body: row.body && Buffer.from(row.body) }));
    assert.deepEqual(plain, rows);
    const { id } = await database.db
      .selectFrom('thing')
      .select('id')
      .where('whole', '=', MAX)
      .executeTakeFirstOrThrow();
    assert.equal(id, '02');
  });

  databaseTest('text is told apart by case, accents, width and trailing spaces', async ({ open }) => {
    const database = await open<Schema>();
    const { db } = database;
    await migrate(database, migrations);
    await db
      .insertInto('word')
      .values(WORDS.toReversed().map(text => ({ text, id: null })))
      .execute();
    for (const text of WORDS) {
      const found = await db.selectFrom('word').select('text').where('text', '=', text).execute();
      assert.deepEqual(found, [{ text }]);
    }
    const all = await db.selectFrom('word').select('text').orderBy('text').execute();
    assert.deepEqual(
      all.map(row => row.text),
      WORDS,
    );
    const like = await db.selectFrom('word').select('text').where('text', 'like', 'A%').execute();
    assert.deepEqual(like, [{ text: 'A' }]);
  });

  databaseTest('a text that looks like SQL stays a text', async ({ open }) => {
    const database = await open<Schema>();
    await migrate(database, migrations);
    const text = `'; drop table word; -- \\' " \\\\ %`;
    await database.db.insertInto('word').values({ text, id: null }).execute();
    const row = await database.db
      .selectFrom('word')
      .select('text')
      .where('text', '=', text)
      .executeTakeFirstOrThrow();
    assert.equal(row.text, text);
  });

  databaseTest('foreign keys are enforced', async ({ open }) => {
    const database = await open<Schema>();
    await migrate(database, migrations);
    await assert.rejects(database.db.insertInto('word').values({ text: 'x', id: 'nobody' }).execute());
    await database.db
      .insertInto('thing')
      .values({ ...nothing, id: 'somebody' })
      .execute();
    await database.db.insertInto('word').values({ text: 'x', id: 'somebody' }).execute();
    await assert.rejects(database.db.deleteFrom('thing').where('id', '=', 'somebody').execute());
  });

  databaseTest('an update counts the rows it matched, changed or not', async ({ open }) => {
    const database = await open<Schema>();
    await migrate(database, migrations);
    await database.db
      .insertInto('thing')
      .values({ ...nothing, id: '01', whole: 5 })
      .execute();
    for (const [whole, expected] of [
      [5, 1n],
      [6, 1n],
    ] as const) {
      const result = await database.db
        .updateTable('thing')
        .set({ whole })
        .where('id', '=', '01')
        .executeTakeFirstOrThrow();
      assert.equal(result.numUpdatedRows, expected);
    }
    const none = await database.db
      .updateTable('thing')
      .set({ whole: 1 })
      .where('id', '=', '9')
      .executeTakeFirst();
    assert.equal(none?.numUpdatedRows, 0n);
  });

  databaseTest('the clock can be stored and compared inside statements', async ({ open }) => {
    const database = await open<Schema>();
    const { db, nowMs } = database;
    await migrate(database, migrations);
    await db
      .insertInto('thing')
      .values({ ...nothing, id: '01', at_ms: nowMs })
      .execute();
    await db
      .updateTable('thing')
      .set({ at_ms: sql<number>`${nowMs} + ${60_000}` })
      .execute();
    const due = db.selectFrom('thing').select('id').where('at_ms', '<=', nowMs);
    assert.deepEqual(await due.execute(), []);
    await db
      .updateTable('thing')
      .set({ at_ms: sql<number>`at_ms - ${60_001}` })
      .execute();
    assert.deepEqual(await due.execute(), [{ id: '01' }]);
  });
});
