import { closeSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import type { SQLInputValue, StatementSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { CompiledQuery, DatabaseConnection, Dialect, Driver, QueryResult } from 'kysely';
import { CompiledQuery as Compiled, SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler } from 'kysely';
import type { OpenOptions } from '../../dialect.ts';
import { namingLoss } from '../../lost-connection.ts';
import { databaseUnreachable } from '../../unreachable.ts';
import { classifyError, isBusy } from './errors.ts';
import { Turns } from './turns.ts';

/** Statements kept prepared; each differs in text, also by the length of an `in` list. */
const MAX_PREPARED = 300;
/** node:sqlite waits inside the process's one thread, so the long wait for a lock is ours, between short ones. */
const BUSY_TIMEOUT_MILLISECONDS = 5;
const RETRY_MILLISECONDS = 10;
/** `like` heeds case, as in the other two. */
const PRAGMAS = ['journal_mode = wal', 'synchronous = full', 'foreign_keys = on', 'case_sensitive_like = on'];
const DATA_STATEMENTS = new Set(['SelectQueryNode', 'InsertQueryNode', 'UpdateQueryNode', 'DeleteQueryNode']);

/**
 * SQLite through node:sqlite. One connection per file and process: kysely hands it to one caller at a time, so a
 * transaction has it alone. Other processes may have the file open too.
 */
export async function connect(options: OpenOptions): Promise<Dialect> {
  const driver = new SqliteDriver(options);
  return {
    createDriver: () => driver,
    createQueryCompiler: () => new SqliteQueryCompiler(),
    createAdapter: () => new Adapter(),
    createIntrospector: db => new SqliteIntrospector(db),
  };
}

/** Turns are kept by the driver, with a deadline, which kysely's own for single connections lacks. */
class Adapter extends SqliteAdapter {
  override get supportsMultipleConnections(): boolean {
    return true;
  }
}

class SqliteDriver implements Driver {
  readonly #options: OpenOptions;
  #connection: SqliteConnection | undefined;
  readonly #turns = new Turns();

  constructor(options: OpenOptions) {
    this.#options = options;
  }

  async init(): Promise<void> {
    const { url, connectMilliseconds } = this.#options;
    if (url.dialect !== 'sqlite') throw new Error(`not a SQLite address: ${url.label}`);
    let database: DatabaseSync | undefined;
    try {
      // A database holds secrets' hashes and identities: made for its owner only. The -wal and -shm files follow its mode.
      if (url.path !== ':memory:') closeSync(openSync(url.path, 'a', 0o600));
      database = new DatabaseSync(url.path, {
        enableForeignKeyConstraints: true,
        enableDoubleQuotedStringLiterals: false,
        timeout: BUSY_TIMEOUT_MILLISECONDS,
      });
      const opened = database;
      for (const pragma of PRAGMAS) {
        await patiently(connectMilliseconds, () => opened.exec(`pragma ${pragma}`));
      }
      this.#connection = new SqliteConnection(opened, this.#options.lockMilliseconds);
    } catch (error) {
      database?.close();
      throw databaseUnreachable(url, error);
    }
  }

  async acquireConnection(): Promise<DatabaseConnection> {
    const { url, connectMilliseconds } = this.#options;
    await this.#turns.take(connectMilliseconds).catch(error => {
      throw databaseUnreachable(url, error);
    });
    return namingLoss(this.#connection!, url, classifyError);
  }

  async releaseConnection(): Promise<void> {
    this.#turns.give();
  }

  async beginTransaction(connection: DatabaseConnection): Promise<void> {
    // Takes the write lock at once: a transaction that reads first and writes later could not be let in otherwise.
    await connection.executeQuery(Compiled.raw('begin immediate'));
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(Compiled.raw('commit'));
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    // Some failures (disk full, for one) have rolled back already.
    if (this.#connection?.inTransaction) await connection.executeQuery(Compiled.raw('rollback'));
  }

  async savepoint(connection: DatabaseConnection, name: string): Promise<void> {
    await connection.executeQuery(Compiled.raw(`savepoint "${name}"`));
  }

  async rollbackToSavepoint(connection: DatabaseConnection, name: string): Promise<void> {
    await connection.executeQuery(Compiled.raw(`rollback to "${name}"`));
  }

  async releaseSavepoint(connection: DatabaseConnection, name: string): Promise<void> {
    await connection.executeQuery(Compiled.raw(`release "${name}"`));
  }

  async destroy(): Promise<void> {
    await this.#turns.take();
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.close();
  }
}

class SqliteConnection implements DatabaseConnection {
  readonly #database: DatabaseSync;
  readonly #lockMilliseconds: number;
  readonly #prepared = new LRUCache<string, StatementSync>({ max: MAX_PREPARED });

  constructor(database: DatabaseSync, lockMilliseconds: number) {
    this.#database = database;
    this.#lockMilliseconds = lockMilliseconds;
  }

  get inTransaction(): boolean {
    return this.#database.isTransaction;
  }

  close(): void {
    this.#prepared.clear();
    this.#database.close();
  }

  async executeQuery<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    const values = query.parameters.map(bind);
    // Inside a transaction the write lock is held, so nothing is busy; before one the statement has done nothing yet.
    return patiently(this.#lockMilliseconds, () => this.#run<Row>(query, values));
  }

  async *streamQuery<Row>(query: CompiledQuery): AsyncIterableIterator<QueryResult<Row>> {
    const statement = this.#database.prepare(query.sql);
    for (const row of statement.iterate(...query.parameters.map(bind))) yield { rows: [{ ...row } as Row] };
  }

  #run<Row>(query: CompiledQuery, values: SQLInputValue[]): QueryResult<Row> {
    const statement = this.#prepare(query);
    if (statement.columns().length > 0)
      return { rows: statement.all(...values).map(row => ({ ...row })) as Row[] };
    const { changes, lastInsertRowid } = statement.run(...values);
    return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) };
  }

  #prepare(query: CompiledQuery): StatementSync {
    const known = this.#prepared.get(query.sql);
    if (known !== undefined) return known;
    const statement = this.#database.prepare(query.sql);
    if (DATA_STATEMENTS.has(query.query.kind)) this.#prepared.set(query.sql, statement);
    return statement;
  }
}

/** Whole numbers go as integers; node:sqlite would bind every number as a double, which changes `/` and typeof(). */
function bind(value: unknown): SQLInputValue {
  if (Number.isSafeInteger(value)) return BigInt(value as number);
  return value as SQLInputValue;
}

async function patiently<T>(milliseconds: number, work: () => T): Promise<T> {
  const deadline = performance.now() + milliseconds;
  for (;;) {
    try {
      return work();
    } catch (error) {
      if (!isBusy(error) || performance.now() > deadline) throw error;
    }
    await sleep(RETRY_MILLISECONDS * (0.5 + Math.random()));
  }
}
