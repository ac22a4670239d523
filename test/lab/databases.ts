import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { Client } from 'pg';
import { createConnection } from 'mysql2/promise';
import type { Database } from '../../lib/database/database.ts';
import type { DialectName } from '../../lib/database/dialect.ts';
import { openDatabase } from '../../lib/database/open-database.ts';
import type { DatabaseOptions } from '../../lib/database/open-database.ts';
import type { DatabaseServer } from './database-server.ts';
import { startMariadb } from './mariadb.ts';
import { startPostgres } from './postgres.ts';
import { makeTemporaryDirectory } from './temporary.ts';

/** A fresh, empty database for one test. */
export interface TestDatabase {
  dialect: DialectName;
  /** For programs that open it themselves. */
  url: string;
  /** Opens it; each one is closed at the end of the test. */
  open: <Schema>(options?: DatabaseOptions) => Promise<Database<Schema>>;
}

export type DatabaseTest = (
  name: string,
  body: (database: TestDatabase, t: TestContext) => Promise<void>,
) => void;

const DIALECTS: readonly DialectName[] = ['sqlite', 'postgres', 'mariadb'];

/**
 * The loop of every database test: runs `define` for SQLite, PostgreSQL and MariaDB. The daemons start once per test
 * process, when first needed, and each test gets its own database. An engine that is not installed fails its tests with
 * what to install; nothing is skipped.
 *
 *     forEachDatabase((dialect, databaseTest) => {
 *       databaseTest('keeps what it is told', async ({ open }) => { const database = await open<Schema>(); … });
 *     });
 */
export function forEachDatabase(define: (dialect: DialectName, databaseTest: DatabaseTest) => void): void {
  for (const dialect of DIALECTS) {
    describe(dialect, () => {
      define(dialect, (name, body) => {
        test(name, async t => body(await testDatabase(dialect, t), t));
      });
    });
  }
}

/** A fresh, empty database of one dialect, gone at the end of the test. */
export async function testDatabase(
  dialect: DialectName,
  t: { after(cleanup: () => Promise<void>): void },
): Promise<TestDatabase> {
  const { url, drop } = await create(dialect);
  const opened: Database<never>[] = [];
  t.after(async () => {
    await Promise.all(opened.map(database => database.close()));
    await drop();
  });
  return {
    dialect,
    url,
    open: async <Schema>(options?: DatabaseOptions) => {
      const database = await openDatabase<Schema>(url, options);
      opened.push(database as unknown as Database<never>);
      return database;
    },
  };
}

async function create(dialect: DialectName): Promise<{ url: string; drop: () => Promise<void> }> {
  if (dialect === 'sqlite') {
    const { path, remove } = await makeTemporaryDirectory('sqlite');
    return { url: `sqlite:${join(path, 'test.db')}`, drop: remove };
  }
  const server = await serverOf(dialect);
  const name = `t_${randomBytes(6).toString('hex')}`;
  // Made with sorting and comparing rules unlike ours: the columns must bring their own.
  if (dialect === 'mariadb') {
    await executeMariadb(server, `create database ${name} character set latin1 collate latin1_swedish_ci`);
    return { url: server.urlOf(name), drop: () => executeMariadb(server, `drop database ${name}`) };
  }
  await executePostgres(server, version =>
    version >= 15
      ? `create database ${name} template template0 locale_provider icu icu_locale 'en-US' locale 'C.UTF-8'`
      : `create database ${name} template template0`,
  );
  return {
    url: server.urlOf(name),
    drop: () => executePostgres(server, () => `drop database ${name} with (force)`),
  };
}

type Address = Pick<DatabaseServer, 'url' | 'urlOf'>;

/** A server that shared-databases.ts started for the whole run. */
function sharedServer(dialect: 'postgres' | 'mariadb'): Address | undefined {
  const url = process.env[`PILOTAGE_TEST_${dialect.toUpperCase()}`];
  if (url === undefined) return undefined;
  return { url, urlOf: database => url.replace(/[^/]*$/, database) };
}

const servers = new Map<DialectName, Promise<DatabaseServer>>();

async function serverOf(dialect: 'postgres' | 'mariadb'): Promise<Address> {
  const shared = sharedServer(dialect);
  if (shared !== undefined) return shared;
  let server = servers.get(dialect);
  if (server === undefined) {
    server = dialect === 'postgres' ? startPostgres() : startMariadb();
    servers.set(dialect, server);
  }
  return server;
}

after(async () => {
  const started = await Promise.allSettled(servers.values());
  servers.clear();
  await Promise.all(started.flatMap(result => (result.status === 'fulfilled' ? [result.value.stop()] : [])));
});

async function executePostgres(server: Address, statement: (version: number) => string): Promise<void> {
  const client = new Client({ connectionString: server.url });
  await client.connect();
  try {
    const { rows } = await client.query<{ server_version: string }>('show server_version');
    await client.query(statement(Number.parseInt(rows[0]!.server_version, 10)));
  } finally {
    await client.end();
  }
}

async function executeMariadb(server: Address, statement: string): Promise<void> {
  const { hostname, port, username, password } = new URL(server.url);
  const connection = await createConnection({ host: hostname, port: Number(port), user: username, password });
  try {
    await connection.query(statement);
  } finally {
    await connection.end();
  }
}
