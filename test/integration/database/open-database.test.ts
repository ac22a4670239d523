import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { sql } from 'kysely';
import { formatError } from '../../../lib/errors.ts';
import { isDatabaseUnreachable } from '../../../lib/database/errors.ts';
import { openDatabase } from '../../../lib/database/open-database.ts';
import { forEachDatabase } from '../../lab/databases.ts';
import { startMariadb } from '../../lab/mariadb.ts';
import { freePort } from '../../lab/ports.ts';
import { startPostgres } from '../../lab/postgres.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';

const unreachable = (error: unknown) => (error as { code: string }).code === 'E_DATABASE_UNREACHABLE';

forEachDatabase((dialect, databaseTest) => {
  databaseTest('tells the time as a number of milliseconds', async ({ open }) => {
    const { db, nowMs } = await open();
    const before = Date.now();
    const { rows } = await sql<{ now: number }>`select ${nowMs} as now`.execute(db);
    const { now } = rows[0]!;
    assert.equal(typeof now, 'number');
    assert.ok(Number.isInteger(now));
    assert.ok(now >= before - 1 && now <= Date.now() + 1, `${now} is not within ${before}..${Date.now()}`);
  });

  databaseTest('the clock goes on inside a transaction', async database => {
    const { transaction, nowMs } = await database.open();
    await transaction(async trx => {
      const read = async () => (await sql<{ now: number }>`select ${nowMs} as now`.execute(trx)).rows[0]!.now;
      const first = await read();
      await waitUntil('the clock has moved', async () => (await read()) > first);
    });
  });

  databaseTest('sums, counts and averages are numbers', async ({ open }) => {
    const { db } = await open();
    const { rows } = await sql`select sum(n) as sum, count(*) as count, avg(n) as avg
      from (select 1 as n union all select 2) as t`.execute(db);
    assert.deepEqual(rows, [{ sum: 3, count: 2, avg: 1.5 }]);
  });

  databaseTest('a number beyond 2^53-1 is refused, and the connection lives on', async ({ open }) => {
    const { db } = await open({ maxConnections: 1 });
    await assert.rejects(sql`select 9007199254740993 as n`.execute(db), RangeError);
    const { rows } = await sql`select 9007199254740991 as n`.execute(db);
    assert.deepEqual(rows, [{ n: 9_007_199_254_740_991 }]);
  });

  databaseTest('no wait for a free connection is without end', async ({ open }) => {
    const { db, transaction } = await open({ maxConnections: 1, connectMilliseconds: 150 });
    await transaction(async trx => {
      await sql`select 1`.execute(trx);
      // Outside this transaction's context, as another request would be.
      const began = performance.now();
      await assert.rejects(
        outside(() => sql`select 2`.execute(db)),
        unreachable,
      );
      assert.ok(performance.now() - began < 2000);
    });
    for (const n of [3, 4]) await sql`select ${sql.lit(n)}`.execute(db);
  });

  databaseTest('close waits for what runs, and may be repeated', async ({ open }) => {
    const database = await open();
    const running = database.transaction(trx => sql<{ n: number }>`select 5 as n`.execute(trx));
    const closed = running.then(() => database.close());
    assert.deepEqual((await running).rows, [{ n: 5 }]);
    await closed;
    await database.close();
    await assert.rejects(sql`select 1`.execute(database.db));
  });

  databaseTest(`the handle inside a transaction is refused on ${dialect}`, async ({ open }) => {
    const { db, transaction } = await open();
    await transaction(async () => {
      await assert.rejects(sql`select 1`.execute(db), /must use the trx/);
      await assert.rejects(
        transaction(async () => {}),
        /must use the trx/,
      );
    });
    await sql`select 1`.execute(db);
  });

  if (dialect === 'sqlite') return;

  databaseTest('the pool never holds more connections than it may', async ({ open }) => {
    const { db, transaction } = await open({ maxConnections: 3 });
    const self = dialect === 'postgres' ? sql`pg_backend_pid()` : sql`connection_id()`;
    const seen = new Set<number>();
    await Promise.all(
      Array.from({ length: 12 }, () =>
        transaction(async trx => {
          const { rows } = await sql<{ id: number }>`select ${self} as id`.execute(trx);
          seen.add(rows[0]!.id);
          await waitUntil('three are in use', () => seen.size >= 3);
        }),
      ),
    );
    assert.equal(seen.size, 3);
    const all =
      dialect === 'postgres'
        ? sql<{ n: number }>`select count(*) as n from pg_stat_activity where datname = current_database()`
        : sql<{ n: number }>`select count(*) as n from information_schema.processlist where db = database()`;
    assert.equal((await all.execute(db)).rows[0]!.n, 3);
  });

  databaseTest('a wrong password and an unknown database are named, the password is not', async ({ url }) => {
    const wrong = url.replace('pilotage-test-password', 'wrong-secret');
    for (const [address, part] of [
      [wrong, '127.0.0.1'],
      [url.replace(/[^/]*$/, 'nowhere'), 'nowhere'],
    ] as const) {
      await assert.rejects(openDatabase(address), error => {
        const text = formatError(error);
        assert.match(text, /^E_DATABASE_UNREACHABLE: /);
        assert.ok(text.includes(part), text);
        assert.doesNotMatch(text, /wrong-secret|pilotage-test-password/);
        return true;
      });
    }
  });

  databaseTest('a port where nobody listens is E_DATABASE_UNREACHABLE', async () => {
    const port = await freePort();
    const address = `${dialect}://someone:secret-word@127.0.0.1:${port}/pilotage`;
    await assert.rejects(openDatabase(address), error => {
      assert.ok(unreachable(error) && isDatabaseUnreachable(error));
      const text = formatError(error);
      assert.ok(text.includes(`127.0.0.1:${port}`) && !text.includes('secret-word'), text);
      return true;
    });
  });

  databaseTest('a server that dies is reported, by ping too, and found again', async (_, t) => {
    const server = await (dialect === 'postgres' ? startPostgres : startMariadb)();
    t.after(server.stop);
    const database = await openDatabase(server.url, { connectMilliseconds: 1000 });
    t.after(database.close);
    const lost = database.transaction(async trx => {
      await sql`select 1`.execute(trx);
      await server.kill();
      // PostgreSQL's part for this connection may answer a moment longer than the killed daemon lives.
      const deadline = performance.now() + 10_000;
      while (performance.now() < deadline) await sql`select 2`.execute(trx);
    });
    await assert.rejects(lost, isDatabaseUnreachable);
    await assert.rejects(database.ping(1000), unreachable);
    await assert.rejects(sql`select 1`.execute(database.db), isDatabaseUnreachable);
    await server.restart();
    await database.ping(2000);
  });
});

describe('sqlite files', () => {
  test('are made for their owner only, the journal too', async t => {
    const path = join(await temporaryDirectory(t), 'new.db');
    const database = await openDatabase(`sqlite:${path}`);
    t.after(database.close);
    await sql`create table t (id text)`.execute(database.db);
    for (const file of [path, `${path}-wal`]) assert.equal((await stat(file)).mode & 0o777, 0o600, file);
    const { rows } = await sql`pragma journal_mode`.execute(database.db);
    assert.deepEqual(rows, [{ journal_mode: 'wal' }]);
    assert.deepEqual((await sql`pragma synchronous`.execute(database.db)).rows, [{ synchronous: 2 }]);
    assert.deepEqual((await sql`pragma foreign_keys`.execute(database.db)).rows, [{ foreign_keys: 1 }]);
  });

  test('a missing directory and a file of another kind are named', async t => {
    const directory = await temporaryDirectory(t);
    const other = join(directory, 'other.db');
    await writeFile(other, 'certainly not a database, but long enough to look at '.repeat(40));
    for (const path of [join(directory, 'missing', 'x.db'), other, directory]) {
      await assert.rejects(openDatabase(`sqlite:${path}`), error => {
        assert.ok(unreachable(error));
        assert.ok(formatError(error).includes(path), formatError(error));
        return true;
      });
    }
  });
});

/** Runs work as if it came from somewhere else: without the asynchronous context of the caller. */
const outside = <T>(work: () => Promise<T>): Promise<T> => started.run(work);
const started = {
  run: AsyncLocalStorage.snapshot() as <T>(work: () => T) => T,
};
