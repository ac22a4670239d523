import { Kysely, sql } from 'kysely';
import type { Transaction } from 'kysely';
import { silentLog } from '../log.ts';
import type { Logger } from '../log.ts';
import type { Database } from './database.ts';
import { parseDatabaseUrl } from './database-url.ts';
import type { DatabaseUrl } from './database-url.ts';
import type { OpenOptions } from './dialect.ts';
import { dialects } from './dialects.ts';
import { outsideTransaction } from './outside-transaction.ts';
import { withRetries } from './retry.ts';
import { databaseUnreachable } from './unreachable.ts';

export interface DatabaseOptions {
  log?: Logger;
  /** Connections the pool may hold at once, default 10; SQLite always has one. */
  maxConnections?: number;
  /** Longest wait for a connection, new or free, default 10000. */
  connectMilliseconds?: number;
  /** Longest wait for a lock another transaction holds, default 10000 (MariaDB: whole seconds). */
  lockMilliseconds?: number;
  /** Longest run of one statement, default 60000; SQLite has none, migrations are exempt. */
  statementMilliseconds?: number;
}

/**
 * Opens `sqlite:<path>`, `postgres://…` or `mariadb://…` (database-url.ts) and makes one round trip.
 *
 * @throws E_DATABASE_URL, E_DATABASE_UNREACHABLE naming the address without its password.
 */
export async function openDatabase<Schema>(
  address: string,
  options: DatabaseOptions = {},
): Promise<Database<Schema>> {
  const url = await parseDatabaseUrl(address);
  const open: OpenOptions = {
    url,
    log: options.log ?? silentLog,
    maxConnections: options.maxConnections ?? 10,
    connectMilliseconds: options.connectMilliseconds ?? 10_000,
    lockMilliseconds: options.lockMilliseconds ?? 10_000,
    statementMilliseconds: options.statementMilliseconds ?? 60_000,
  };
  const support = dialects[url.dialect];
  const pool = new Kysely<Schema>({ dialect: await support.connect(open) });
  const guard = outsideTransaction();
  const database: Database<Schema> = {
    db: pool.withPlugin(guard.plugin),
    dialect: url.dialect,
    nowMs: support.nowMs,
    transaction: async work => {
      guard.refuseInside();
      return withRetries(open.log, () => inTransaction(pool, url, trx => guard.runInside(() => work(trx))));
    },
    tryLock: name => support.tryLock(open, name),
    ping: milliseconds => ping(pool, url, milliseconds),
    close: () => pool.destroy(),
  };
  try {
    await database.ping(open.connectMilliseconds);
  } catch (error) {
    await database.close();
    throw error;
  }
  return database;
}

function inTransaction<Schema, T>(
  pool: Kysely<Schema>,
  url: DatabaseUrl,
  work: (trx: Transaction<Schema>) => Promise<T>,
): Promise<T> {
  const transaction = pool.transaction();
  // SQLite is serializable, MariaDB's sessions are set to READ COMMITTED when they open.
  return (url.dialect === 'postgres' ? transaction.setIsolationLevel('read committed') : transaction).execute(
    work,
  );
}

async function ping<Schema>(pool: Kysely<Schema>, url: DatabaseUrl, milliseconds: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(databaseUnreachable(url, new Error(`no answer within ${milliseconds} ms`))),
      milliseconds,
    );
  });
  try {
    await Promise.race([sql`select 1`.execute(pool), deadline]);
  } finally {
    clearTimeout(timer);
  }
}
