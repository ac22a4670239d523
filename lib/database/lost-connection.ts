import type { CompiledQuery, DatabaseConnection } from 'kysely';
import type { DatabaseUrl } from './database-url.ts';
import type { DialectSupport } from './dialect.ts';
import { databaseUnreachable } from './unreachable.ts';

const naming = new WeakSet<DatabaseConnection>();

/** Makes a connection's statements fail with E_DATABASE_UNREACHABLE, not the driver's words, when the database is gone. */
export function namingLoss<Connection extends DatabaseConnection>(
  connection: Connection,
  url: DatabaseUrl,
  classifyError: DialectSupport['classifyError'],
): Connection {
  if (naming.has(connection)) return connection;
  naming.add(connection);
  const execute = connection.executeQuery.bind(connection);
  connection.executeQuery = async <Row>(query: CompiledQuery, ...rest: unknown[]) => {
    try {
      return await (execute as typeof connection.executeQuery<Row>)(query, ...(rest as []));
    } catch (error) {
      forgetStatement(error);
      throw classifyError(error) === 'unreachable' ? databaseUnreachable(url, error) : error;
    }
  };
  return connection;
}

/** mysql2 puts the statement with all its values into its errors, and from there it would go into logs. */
function forgetStatement(error: unknown): void {
  if (typeof error === 'object' && error !== null && 'sql' in error) delete error.sql;
}
