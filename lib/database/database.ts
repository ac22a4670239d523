import type { Kysely, RawBuilder, Transaction } from 'kysely';
import type { DatabaseLock, DialectName } from './dialect.ts';

/** An open database. `Schema` maps table names to row types, as kysely has it. */
export interface Database<Schema> {
  /** For single statements; inside `transaction` use its `trx`. */
  db: Kysely<Schema>;
  dialect: DialectName;
  /** The database's own clock in epoch milliseconds, for use inside statements: leases are judged by it alone. */
  nowMs: RawBuilder<number>;
  /**
   * Runs `work` in one transaction, READ COMMITTED or stricter, and commits. Serialization failures, deadlocks and lock
   * timeouts roll back and run `work` again, a few times with growing pauses: `work` must do nothing outside `trx` that
   * may not be repeated. A connection lost at commit is not retried, as nobody knows whether it was committed.
   *
   * Use only `trx` inside; `db` or another `transaction` there is refused (it would wait for itself).
   */
  transaction: <T>(work: (trx: Transaction<Schema>) => Promise<T>) => Promise<T>;
  /**
   * Takes a lock of this database that one process at a time can have, without waiting; null when another has it. It falls
   * with the process. On a server it falls with its connection as well, without a word: who holds it for long writes only
   * where the same transaction shows that nobody took it since.
   *
   * @param name lower-case word.
   */
  tryLock: (name: string) => Promise<DatabaseLock | null>;
  /** One round trip. @throws E_DATABASE_UNREACHABLE, also when no answer came within `milliseconds`. */
  ping: (milliseconds: number) => Promise<void>;
  /** Waits for what runs, then closes every connection. May be called again. */
  close: () => Promise<void>;
}
