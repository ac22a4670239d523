import { PostgresAdapter, PostgresDriver, PostgresIntrospector, PostgresQueryCompiler } from 'kysely';
import type { DatabaseConnection, Dialect, PostgresPool } from 'kysely';
import { Pool, types } from 'pg';
import type { OpenOptions } from '../../dialect.ts';
import { numeric, safeInteger } from '../../safe-integer.ts';
import { namingLoss } from '../../lost-connection.ts';
import { databaseUnreachable } from '../../unreachable.ts';
import { classifyError } from './errors.ts';

const INT8: number = types.builtins.INT8;
const NUMERIC: number = types.builtins.NUMERIC;

/** PostgreSQL through pg: a pool, whole numbers as JavaScript numbers, a deadline on every wait. */
export async function connect(options: OpenOptions): Promise<Dialect> {
  const { url, log } = options;
  if (url.dialect !== 'postgres') throw new Error(`not a PostgreSQL address: ${url.label}`);
  const pool = new Pool({
    host: url.socket ?? url.host,
    port: url.port,
    user: url.user,
    ...(url.password === undefined ? {} : { password: url.password }),
    database: url.database,
    ssl: url.tls === undefined ? false : { rejectUnauthorized: true, ...url.tls },
    max: options.maxConnections,
    connectionTimeoutMillis: options.connectMilliseconds,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    application_name: 'pilotage',
    lock_timeout: options.lockMilliseconds,
    statement_timeout: options.statementMilliseconds,
    types: {
      getTypeParser: (oid: number, format?: 'text' | 'binary') =>
        oid === INT8
          ? safeInteger
          : oid === NUMERIC
            ? numeric
            : (types.getTypeParser(oid, format) as (text: string) => unknown),
    },
  });
  // The pool replaces a broken connection at the next use. Without a listener on pool and client, idle or between two
  // statements of a transaction, its error would end the process.
  const lost = (error: Error) =>
    log.warn({ database: url.label, error: error.message }, 'database connection lost');
  pool.on('error', () => {});
  pool.on('connect', client => client.on('error', lost));
  return {
    createDriver: () => new Driver(pool, options),
    createQueryCompiler: () => new PostgresQueryCompiler(),
    createAdapter: () => new PostgresAdapter(),
    createIntrospector: db => new PostgresIntrospector(db),
  };
}

class Driver extends PostgresDriver {
  readonly #options: OpenOptions;

  constructor(pool: PostgresPool, options: OpenOptions) {
    super({ pool });
    this.#options = options;
  }

  override async acquireConnection(): Promise<DatabaseConnection> {
    try {
      return namingLoss(await super.acquireConnection(), this.#options.url, classifyError);
    } catch (error) {
      throw databaseUnreachable(this.#options.url, error);
    }
  }

  /** A rollback that fails must not hide why it was needed; kysely has marked the connection to be thrown away. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    try {
      await super.rollbackTransaction(connection as Parameters<PostgresDriver['rollbackTransaction']>[0]);
    } catch (error) {
      this.#options.log.warn({ error: (error as Error).message }, 'rollback failed, connection closed');
    }
  }
}
