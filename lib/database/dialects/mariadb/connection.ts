import { MysqlAdapter, MysqlDriver, MysqlIntrospector, MysqlQueryCompiler } from 'kysely';
import type { DatabaseConnection, Dialect } from 'kysely';
import { createPool } from 'mysql2';
import type { Pool, PoolConnection, PoolOptions } from 'mysql2';
import type { OpenOptions } from '../../dialect.ts';
import { namingLoss } from '../../lost-connection.ts';
import { databaseUnreachable } from '../../unreachable.ts';
import { classifyError } from './errors.ts';
import { readField } from './read-field.ts';

/**
 * What every session is set to: READ COMMITTED as elsewhere, strict (nothing truncated silently), backslash escapes as
 * the driver writes them, UTC for the clock, the same bounds as the other dialects.
 */
const sessionSettings = (options: OpenOptions): string =>
  [
    `set session sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'`,
    `session time_zone = '+00:00'`,
    `session default_storage_engine = InnoDB`,
    `session innodb_lock_wait_timeout = ${Math.max(1, Math.ceil(options.lockMilliseconds / 1000))}`,
    `session max_statement_time = ${options.statementMilliseconds / 1000}`,
  ].join(', ');

/** MariaDB through mysql2: a pool, whole numbers as JavaScript numbers, a deadline on every wait. */
export async function connect(options: OpenOptions): Promise<Dialect> {
  const { url, log } = options;
  if (url.dialect !== 'mariadb') throw new Error(`not a MariaDB address: ${url.label}`);
  const config: PoolOptions = {
    ...(url.socket === undefined ? { host: url.host, port: url.port } : { socketPath: url.socket }),
    user: url.user,
    ...(url.password === undefined ? {} : { password: url.password }),
    database: url.database,
    ...(url.tls === undefined ? {} : { ssl: { rejectUnauthorized: true, verifyIdentity: true, ...url.tls } }),
    charset: 'utf8mb4_bin',
    connectionLimit: options.maxConnections,
    waitForConnections: true,
    connectTimeout: options.connectMilliseconds,
    idleTimeout: 60_000,
    multipleStatements: false,
    typeCast: readField,
  };
  const pool = createPool(config);
  const settings = sessionSettings(options);
  pool.on('connection', (connection: PoolConnection) => {
    // Runs before anything the new connection is used for: commands of one connection are a queue.
    for (const statement of ['set session transaction isolation level read committed', settings]) {
      connection.query(statement, error => {
        if (error === null) return;
        log.error({ database: url.label, error: error.message }, 'database session settings refused');
        connection.destroy();
      });
    }
  });
  return {
    createDriver: () => new Driver(pool, options),
    createQueryCompiler: () => new MysqlQueryCompiler(),
    createAdapter: () => new MysqlAdapter(),
    createIntrospector: db => new MysqlIntrospector(db),
  };
}

class Driver extends MysqlDriver {
  readonly #options: OpenOptions;

  constructor(pool: Pool, options: OpenOptions) {
    super({ pool });
    this.#options = options;
  }

  override async acquireConnection(): ReturnType<MysqlDriver['acquireConnection']> {
    const { connectMilliseconds, url } = this.#options;
    // mysql2 waits for a free connection without end; a connection that comes too late goes straight back.
    const connection = super.acquireConnection();
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        connection.then(
          late => this.releaseConnection(late as Parameters<MysqlDriver['releaseConnection']>[0]),
          () => {},
        );
        reject(new Error(`no free connection within ${connectMilliseconds} ms`));
      }, connectMilliseconds);
    });
    try {
      return namingLoss(await Promise.race([connection, deadline]), url, classifyError);
    } catch (error) {
      throw databaseUnreachable(url, error);
    } finally {
      clearTimeout(timer);
    }
  }

  /** A rollback that fails must not hide why it was needed, nor leave its transaction to the connection's next user. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    try {
      await super.rollbackTransaction(connection);
    } catch (error) {
      this.#options.log.warn({ error: (error as Error).message }, 'rollback failed, connection closed');
      await connection.killSession?.(async () => {});
    }
  }
}
