import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { sql } from 'kysely';
import type { Transaction } from 'kysely';
import type { Database } from '../../../lib/database/database.ts';
import { isUniqueViolation } from '../../../lib/database/errors.ts';
import { insertIfAbsent } from '../../../lib/database/insert-if-absent.ts';
import { migrate } from '../../../lib/database/migrate.ts';
import type { Migration } from '../../../lib/database/migration.ts';
import { forEachDatabase } from '../../lab/databases.ts';
import { waitUntil } from '../../lab/wait-until.ts';

interface Schema {
  job: { id: string; state: string; lease: string | null; count: number };
  secret: { hash: string; job: string; other: string | null };
}

const migrations: Migration[] = [
  {
    id: '0001-jobs',
    owner: 'test',
    class: 'stable',
    readableBy: 1,
    up: async (db, types) => {
      await db.schema
        .createTable('job')
        .addColumn('id', types.id, column => column.primaryKey().notNull())
        .addColumn('state', types.text, column => column.notNull())
        .addColumn('lease', types.id)
        .addColumn('count', types.integer, column => column.notNull().defaultTo(0))
        .execute();
      await db.schema
        .createTable('secret')
        .addColumn('hash', types.id, column => column.notNull())
        .addColumn('job', types.id, column => column.notNull())
        .addColumn('other', types.text, column => column.unique())
        .addPrimaryKeyConstraint('secret_key', ['hash', 'job'])
        .execute();
    },
  },
];

const addJobs = async ({ db }: Database<Schema>, count: number) => {
  const ids = Array.from({ length: count }, (_, index) => `job-${String(index).padStart(3, '0')}`);
  await db
    .insertInto('job')
    .values(ids.map(id => ({ id, state: 'activated', lease: null, count: 0 })))
    .execute();
  return ids;
};

/** The claim of README.md, as a component writes it. */
async function claim(database: Database<Schema>, lease: string, limit: number): Promise<string[]> {
  return database.transaction(async trx => {
    const candidates = await trx
      .selectFrom('job')
      .select('id')
      .where('state', '=', 'activated')
      .orderBy('id')
      .limit(limit)
      .execute();
    if (candidates.length === 0) return [];
    await trx
      .updateTable('job')
      .set({ state: 'sent', lease })
      .where(
        'id',
        'in',
        candidates.map(row => row.id),
      )
      .where('state', '=', 'activated')
      .execute();
    const won = await trx.selectFrom('job').select('id').where('lease', '=', lease).execute();
    return won.map(row => row.id);
  });
}

forEachDatabase((dialect, databaseTest) => {
  databaseTest('what fails leaves nothing behind, and says its own error', async ({ open }) => {
    const database = await open<Schema>();
    await migrate(database, migrations);
    const own = new Error('changed my mind');
    const failing = database.transaction(async trx => {
      await trx.insertInto('job').values({ id: 'a', state: 'activated', lease: null, count: 0 }).execute();
      throw own;
    });
    await assert.rejects(failing, error => error === own);
    const broken = database.transaction(async trx => {
      await trx.insertInto('job').values({ id: 'b', state: 'activated', lease: null, count: 0 }).execute();
      await sql`select * from no_such_table`.execute(trx);
    });
    await assert.rejects(broken, /no_such_table/);
    assert.deepEqual(await database.db.selectFrom('job').selectAll().execute(), []);
  });

  databaseTest('what it returns is committed, for others to see', async ({ open }) => {
    const [one, other] = [await open<Schema>(), await open<Schema>()];
    await migrate(one, migrations);
    const answer = await one.transaction(async trx => {
      await trx.insertInto('job').values({ id: 'a', state: 'activated', lease: null, count: 0 }).execute();
      return 'done';
    });
    assert.equal(answer, 'done');
    assert.equal((await other.db.selectFrom('job').selectAll().execute()).length, 1);
  });

  databaseTest('nobody sees a part of a transaction', async ({ open }) => {
    const [one, other] = [await open<Schema>(), await open<Schema>()];
    await migrate(one, migrations);
    await one.transaction(async trx => {
      await trx.insertInto('job').values({ id: 'a', state: 'activated', lease: null, count: 0 }).execute();
      assert.deepEqual(await other.db.selectFrom('job').selectAll().execute(), []);
    });
  });

  databaseTest('of two claims for the same row exactly one wins', async ({ open }) => {
    const [one, other] = [await open<Schema>(), await open<Schema>()];
    await migrate(one, migrations);
    for (let round = 0; round < 10; round += 1) {
      await one.db.deleteFrom('job').execute();
      await addJobs(one, 1);
      const claims = await Promise.all([claim(one, `one-${round}`, 1), claim(other, `other-${round}`, 1)]);
      assert.deepEqual(claims.flat(), ['job-000']);
    }
  });

  databaseTest('many claims at once share the rows, each row once', async ({ open }) => {
    const handles = await Promise.all([open<Schema>(), open<Schema>(), open<Schema>()]);
    await migrate(handles[0], migrations);
    const ids = await addJobs(handles[0], 60);
    const won: string[] = [];
    const worker = async (database: Database<Schema>, name: string) => {
      for (let round = 0; won.length < ids.length; round += 1) {
        won.push(...(await claim(database, `${name}-${round}`, 3)));
      }
    };
    await Promise.all(
      handles.flatMap((database, n) => [worker(database, `a${n}`), worker(database, `b${n}`)]),
    );
    assert.deepEqual(won.toSorted(), ids);
  });

  databaseTest('concurrent increments all count', async ({ open }) => {
    const handles = [await open<Schema>(), await open<Schema>()];
    await migrate(handles[0]!, migrations);
    await addJobs(handles[0]!, 1);
    const add = (trx: Transaction<Schema>) =>
      trx
        .updateTable('job')
        .set(eb => ({ count: eb('count', '+', 1) }))
        .execute();
    await Promise.all(Array.from({ length: 30 }, (_, n) => handles[n % 2]!.transaction(add)));
    assert.equal(
      (await handles[0]!.db.selectFrom('job').select('count').executeTakeFirstOrThrow()).count,
      30,
    );
  });

  databaseTest('a deadlock is run again until both are done', async ({ open }) => {
    const database = await open<Schema>();
    await migrate(database, migrations);
    const [a, b] = (await addJobs(database, 2)) as [string, string];
    const started = new Set<string>();
    let attempts = 0;
    const both = (first: string, second: string) =>
      database.transaction(async trx => {
        attempts += 1;
        const add = (id: string) =>
          trx
            .updateTable('job')
            .set(eb => ({ count: eb('count', '+', 1) }))
            .where('id', '=', id)
            .execute();
        await add(first);
        started.add(first);
        // SQLite lets only one in; elsewhere each now holds what the other wants.
        if (dialect !== 'sqlite') await waitUntil('both have begun', () => started.size === 2);
        await add(second);
      });
    await Promise.all([both(a, b), both(b, a)]);
    assert.deepEqual(await database.db.selectFrom('job').select('count').execute(), [
      { count: 2 },
      { count: 2 },
    ]);
    assert.ok(dialect === 'sqlite' ? attempts === 2 : attempts >= 3, `${attempts} attempts`);
  });

  databaseTest('waiting for another transaction does not stop the process', async ({ open }) => {
    const [one, other] = [await open<Schema>(), await open<Schema>()];
    await migrate(one, migrations);
    await addJobs(one, 1);
    let turns = 0;
    const timer = setInterval(() => (turns += 1), 5);
    let waiting: Promise<unknown> | undefined;
    await one.transaction(async trx => {
      await trx.updateTable('job').set({ count: 1 }).execute();
      waiting = other.db.updateTable('job').set({ lease: 'x' }).execute();
      await waitUntil('the process has gone on meanwhile', () => turns >= 20);
    });
    await waiting;
    clearInterval(timer);
    assert.deepEqual(await one.db.selectFrom('job').select(['count', 'lease']).execute(), [
      { count: 1, lease: 'x' },
    ]);
  });

  databaseTest('a violated key is known as such, other violations are not', async ({ open }) => {
    const { db, ...rest } = await open<Schema>();
    await migrate({ db, ...rest }, migrations);
    const job = { id: 'a', state: 'activated', lease: null, count: 0 };
    await db.insertInto('job').values(job).execute();
    await assert.rejects(db.insertInto('job').values(job).execute(), isUniqueViolation);
    await assert.rejects(
      db
        .insertInto('job')
        .values({ ...job, id: 'b', state: null as unknown as string })
        .execute(),
      error => !isUniqueViolation(error),
    );
  });

  databaseTest('insertIfAbsent inserts once, and the transaction goes on', async ({ open }) => {
    const database = await open<Schema>();
    await migrate(database, migrations);
    const row = { hash: 'h', job: 'j', other: 'first' };
    await database.transaction(async trx => {
      assert.equal(await insertIfAbsent(trx, 'secret', row, ['hash', 'job']), true);
      assert.equal(await insertIfAbsent(trx, 'secret', { ...row, other: 'second' }, ['hash', 'job']), false);
      assert.equal(
        await insertIfAbsent(trx, 'secret', { hash: 'h', job: 'k', other: null }, ['hash', 'job']),
        true,
      );
    });
    assert.deepEqual(await database.db.selectFrom('secret').selectAll().orderBy('job').execute(), [
      row,
      { hash: 'h', job: 'k', other: null },
    ]);
  });

  databaseTest('an error of the database does not carry the values of its statement', async ({ open }) => {
    const database = await open<Schema>();
    await migrate(database, migrations);
    const row = { hash: 'h', job: 'j', other: 'password=hunter2' };
    await database.db
      .insertInto('secret')
      .values({ ...row, other: null })
      .execute();
    const insert = () => database.db.insertInto('secret').values(row).execute();
    await assert.rejects(insert, (error: unknown) => {
      assert.ok(isUniqueViolation(error));
      assert.doesNotMatch(inspect(error, { depth: 10 }), /hunter2/);
      return true;
    });
  });

  databaseTest('insertIfAbsent does not hide the violation of another key', async ({ open }) => {
    const database = await open<Schema>();
    await migrate(database, migrations);
    const row = { hash: 'h', job: 'j', other: 'taken' };
    await database.db.insertInto('secret').values(row).execute();
    await assert.rejects(
      database.transaction(trx => insertIfAbsent(trx, 'secret', { ...row, job: 'k' }, ['hash', 'job'])),
      isUniqueViolation,
    );
    await assert.rejects(
      database.transaction(trx =>
        insertIfAbsent(trx, 'secret', { ...row, hash: null as unknown as string }, ['hash', 'job']),
      ),
      error => !isUniqueViolation(error),
    );
  });

  databaseTest('of many insertIfAbsent at once exactly one inserts', async ({ open }) => {
    const handles = [await open<Schema>(), await open<Schema>()];
    await migrate(handles[0]!, migrations);
    for (let round = 0; round < 5; round += 1) {
      const row = { hash: `h${round}`, job: 'j', other: null };
      const inserted = await Promise.all(
        Array.from({ length: 10 }, (_, n) =>
          handles[n % 2]!.transaction(trx => insertIfAbsent(trx, 'secret', row, ['hash', 'job'])),
        ),
      );
      assert.equal(inserted.filter(Boolean).length, 1);
    }
  });
});
