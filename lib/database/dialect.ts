import type { Dialect, Expression, Kysely, RawBuilder } from 'kysely';
import type { Logger } from '../log.ts';
import type { DatabaseUrl } from './database-url.ts';

export type DialectName = 'sqlite' | 'postgres' | 'mariadb';

/** A handle whose tables are known only at run time: migrations and the portable statements below them. */
// oxlint-disable-next-line typescript/no-explicit-any -- kysely's own way to say "any schema"
export type AnyKysely = Kysely<any>;

/** What an error of a driver means to the code above, whatever the dialect calls it. */
export type DatabaseErrorKind =
  /** A unique or primary key holds this value already. */
  | 'unique-violation'
  /** Serialization failure, deadlock or lock timeout: the whole transaction may be run again. */
  | 'try-again'
  /** The server is not there, or the connection to it broke. */
  | 'unreachable'
  /** The table, column or index is there already (create) or gone already (drop). */
  | 'already-so'
  | 'other';

/** A column type of the vocabulary, as `addColumn` takes it. */
export type ColumnType = Expression<unknown>;

/**
 * The only column types that migrations use. Text compares by code point in all three dialects: case, accents and
 * trailing spaces count.
 */
export interface ColumnTypes {
  /** A ULID or another short key, at most 64 characters. */
  id: ColumnType;
  /** Text that may be a key or indexed, at most 255 characters. */
  text: ColumnType;
  /** As `text`, with another bound; at most 700 characters where it is a key or indexed. */
  textOf(maxCharacters: number): ColumnType;
  /** Text without a practical bound (4 GiB); never a key. */
  longText: ColumnType;
  /** Bytes, up to 16 MiB a value where a server has its default settings; never a key. Read as Uint8Array. */
  bytes: ColumnType;
  /** 32 bits, signed. */
  integer: ColumnType;
  /** Whole number up to 2^53-1 on either side of zero. */
  bigint: ColumnType;
  /** Milliseconds since 1970-01-01 UTC. */
  epochMs: ColumnType;
  /** 64-bit floating point. */
  real: ColumnType;
  /** JSON, kept as text; the caller serialises and parses. */
  json: ColumnType;
  /** 0 or 1. */
  bool: ColumnType;
  /** The database's clock, for statements that fill a column. */
  nowMs: RawBuilder<number>;
}

export interface OpenOptions {
  url: DatabaseUrl;
  log: Logger;
  /** Connections the pool may hold at once; SQLite always has one. */
  maxConnections: number;
  /** Longest wait for a connection: a new one, or a free one of the pool. */
  connectMilliseconds: number;
  /** Longest wait for a lock another transaction holds. */
  lockMilliseconds: number;
  /** Longest run of one statement; migrations are exempt. */
  statementMilliseconds: number;
}

/** A lock of a database that one process at a time can have. */
export interface DatabaseLock {
  release(): Promise<void>;
}

/** What each dialect provides; everything above is the same for all three. */
export interface DialectSupport {
  name: DialectName;
  /** The kysely dialect for a URL; connects on first use. */
  connect: (options: OpenOptions) => Promise<Dialect>;
  nowMs: RawBuilder<number>;
  columnTypes: ColumnTypes;
  classifyError: (error: unknown) => DatabaseErrorKind;
  /** True where a schema change is part of the transaction around it. */
  ddlIsTransactional: boolean;
  /**
   * Runs `work` while no other process migrates this database; in one transaction where DDL is transactional, else on
   * one connection. Rejects with a `try-again` error when the lock is not free within the patience.
   */
  withMigrationLock: <T>(
    db: AnyKysely,
    patienceMilliseconds: number,
    work: (db: AnyKysely) => Promise<T>,
  ) => Promise<T>;
  /** See Database.tryLock. */
  tryLock: (options: OpenOptions, name: string) => Promise<DatabaseLock | null>;
  /** See insert-if-absent.ts. */
  insertIfAbsent: (
    db: AnyKysely,
    table: string,
    row: Record<string, unknown>,
    keyColumns: readonly string[],
  ) => Promise<boolean>;
}
