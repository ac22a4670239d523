import { createHash } from 'node:crypto';
import {
  DummyDriver,
  Kysely,
  MysqlAdapter,
  MysqlIntrospector,
  MysqlQueryCompiler,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  sql,
} from 'kysely';
import type { CompiledQuery, DatabaseConnection, Dialect } from 'kysely';
import type { AnyKysely, ColumnType, ColumnTypes, DialectName } from './dialect.ts';
import { dialects } from './dialects.ts';
import type { Migration } from './migration.ts';

const READS = new Set(['SelectQueryNode', 'SetOperationNode']);
const WRITES = new Set(['InsertQueryNode', 'UpdateQueryNode', 'DeleteQueryNode']);

/** Rows change, not the schema: such a statement can be part of a transaction in every dialect. */
export const changesRowsOnly = ({ query, sql }: CompiledQuery): boolean =>
  query.kind === 'RawNode' ? /^\s*(insert|update|delete|replace)\b/i.test(sql) : WRITES.has(query.kind);

const reads = ({ query, sql }: CompiledQuery): boolean =>
  query.kind === 'RawNode' ? /^\s*(select|with|values|show|pragma)\b/i.test(sql) : READS.has(query.kind);

/** The statements of a migration as one dialect runs them. */
export const statementsFor = (migration: Migration, dialect: DialectName): Promise<CompiledQuery[]> =>
  record(migration, compilers[dialect], dialects[dialect].columnTypes);

/**
 * What a migration does, as one number: SHA-256 over its statements in a neutral spelling, the same whatever database it
 * is compiled for and however its source is formatted.
 */
export async function migrationChecksum(migration: Migration): Promise<string> {
  const statements = await record(migration, compilers.postgres, neutralTypes);
  const text = JSON.stringify([
    migration.id,
    migration.owner,
    statements.map(({ sql, parameters }) => [sql, parameters]),
  ]);
  return createHash('sha256').update(text).digest('hex');
}

/** Tables a migration creates, for the list of owners. */
export async function tablesCreated(migration: Migration): Promise<string[]> {
  const statements = await record(migration, compilers.postgres, neutralTypes);
  return statements.flatMap(({ query }) =>
    query.kind === 'CreateTableNode' ? [query.table.table.identifier.name] : [],
  );
}

async function record(
  migration: Migration,
  parts: Omit<Dialect, 'createDriver'>,
  types: ColumnTypes,
): Promise<CompiledQuery[]> {
  const statements: CompiledQuery[] = [];
  const connection: DatabaseConnection = {
    executeQuery: async query => {
      if (reads(query)) {
        throw new Error(
          `migration ${migration.id}: a migration's statements are recorded, it cannot read rows`,
        );
      }
      statements.push(query);
      return { rows: [] };
    },
    streamQuery: () => {
      throw new Error(
        `migration ${migration.id}: a migration's statements are recorded, it cannot read rows`,
      );
    },
  };
  const recorder: AnyKysely = new Kysely({
    dialect: { ...parts, createDriver: () => new RecordingDriver(connection) },
  });
  await migration.up(recorder, types);
  return statements;
}

class RecordingDriver extends DummyDriver {
  readonly #connection: DatabaseConnection;

  constructor(connection: DatabaseConnection) {
    super();
    this.#connection = connection;
  }

  override async acquireConnection(): Promise<DatabaseConnection> {
    return this.#connection;
  }
}

const compilers: Record<DialectName, Omit<Dialect, 'createDriver'>> = {
  sqlite: {
    createAdapter: () => new SqliteAdapter(),
    createQueryCompiler: () => new SqliteQueryCompiler(),
    createIntrospector: db => new SqliteIntrospector(db),
  },
  postgres: {
    createAdapter: () => new PostgresAdapter(),
    createQueryCompiler: () => new PostgresQueryCompiler(),
    createIntrospector: db => new PostgresIntrospector(db),
  },
  mariadb: {
    createAdapter: () => new MysqlAdapter(),
    createQueryCompiler: () => new MysqlQueryCompiler(),
    createIntrospector: db => new MysqlIntrospector(db),
  },
};

const named = (name: string): ColumnType => sql`${sql.raw(`<${name}>`)}`;

const neutralTypes: ColumnTypes = {
  id: named('id'),
  text: named('text'),
  textOf: maxCharacters => named(`text ${maxCharacters}`),
  longText: named('longText'),
  bytes: named('bytes'),
  integer: named('integer'),
  bigint: named('bigint'),
  epochMs: named('epochMs'),
  real: named('real'),
  json: named('json'),
  bool: named('bool'),
  nowMs: sql<number>`<nowMs>`,
};
