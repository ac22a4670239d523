import type { CompiledQuery } from 'kysely';
import { PilotageError } from '../errors.ts';
import { silentLog } from '../log.ts';
import type { Logger } from '../log.ts';
import type { Database } from './database.ts';
import type { AnyKysely } from './dialect.ts';
import { dialectOf, dialects } from './dialects.ts';
import { classifyDatabaseError, databaseError } from './errors.ts';
import { insertIfAbsent } from './insert-if-absent.ts';
import type { Migration } from './migration.ts';
import { createMigrationTable, migrationTable } from './migration-table.ts';
import { changesRowsOnly, migrationChecksum, statementsFor } from './record-statements.ts';
import { withRetries } from './retry.ts';
import { refuseMisfit, stateOf } from './schema-state.ts';

/**
 * Brings the schema up to the product's migrations, in order, each once, under a lock: of several servers that start at
 * once one works and the others wait and find nothing left to do. On SQLite and PostgreSQL all or nothing is applied; on
 * MariaDB, whose schema changes cannot be rolled back, a run that broke off is resumed at its statement.
 *
 * @param options.lockSeconds longest wait for another process that migrates, default 30.
 * @returns the ids applied by this call.
 * @throws E_SCHEMA_UNKNOWN, E_MIGRATION_CHANGED (nothing is changed then), E_MIGRATION_FAILED naming the statement,
 *   E_TIMEOUT when the lock stays taken.
 */
export async function migrate<Schema>(
  database: Database<Schema>,
  migrations: readonly Migration[],
  options: { log?: Logger; lockSeconds?: number } = {},
): Promise<{ applied: string[] }> {
  const log = options.log ?? silentLog;
  const patience = (options.lockSeconds ?? 30) * 1000;
  const { withMigrationLock } = dialects[database.dialect];
  try {
    return await withRetries(log, () =>
      withMigrationLock(database.db, patience, db => applyMissing(db, migrations, log)),
    );
  } catch (error) {
    if (classifyDatabaseError(error) !== 'try-again') throw error;
    throw databaseError({
      code: 'E_TIMEOUT',
      message: 'The schema could not be migrated: a lock was not free in time.',
      where: 'table schema_migration',
      found: (error as Error).message,
      fix: 'Another process may be migrating, or a long transaction is open. Try again when it has ended.',
      cause: error,
    });
  }
}

async function applyMissing(
  db: AnyKysely,
  migrations: readonly Migration[],
  log: Logger,
): Promise<{ applied: string[] }> {
  await createMigrationTable(db);
  const state = await stateOf(db, migrations);
  refuseMisfit(state);
  for (const migration of migrations) {
    if (!state.missing.includes(migration.id)) continue;
    await apply(db, migration, log);
    log.info({ migration: migration.id, owner: migration.owner }, 'migration applied');
  }
  return { applied: state.missing };
}

async function apply(db: AnyKysely, migration: Migration, log: Logger): Promise<void> {
  const { id } = migration;
  const { name, nowMs } = dialectOf(db);
  await insertIfAbsent(
    migrationTable(db),
    'schema_migration',
    {
      id,
      owner: migration.owner,
      class: migration.class,
      readable_by: migration.readableBy,
      checksum: await migrationChecksum(migration),
      steps_done: 0,
      step_begun: 0,
      applied_ms: null,
    },
    ['id'],
  );
  const before = await migrationTable(db)
    .selectFrom('schema_migration')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirstOrThrow();
  const statements = await statementsFor(migration, name);
  for (const [index, statement] of statements.entries()) {
    const step = index + 1;
    if (step <= before.steps_done) continue;
    if (step === before.step_begun) log.warn({ migration: id, step }, 'migration resumed after a crash');
    try {
      await applyStep(db, id, step, statement, step === before.step_begun);
    } catch (error) {
      throw failure(id, step, statement, error);
    }
  }
  await migrationTable(db)
    .updateTable('schema_migration')
    .set({ applied_ms: nowMs })
    .where('id', '=', id)
    .execute();
}

/** What stopped a migration, in words; what is worth another try stays as it is. */
function failure(id: string, step: number, statement: CompiledQuery, error: unknown): unknown {
  if (error instanceof PilotageError || classifyDatabaseError(error) === 'try-again') return error;
  return databaseError({
    code: 'E_MIGRATION_FAILED',
    message: `The database refused a statement of the migration: ${(error as Error).message}`,
    where: `migration ${id}, statement ${step}`,
    found: statement.sql,
    fix: 'Check that the database user may change tables, and that nothing else made them. Then run the migrations again.',
    cause: error,
  });
}

/** One statement and the record that it is done, so that a crash at any point is resumed without doing it twice. */
async function applyStep(
  db: AnyKysely,
  id: string,
  step: number,
  statement: CompiledQuery,
  mayBeDone: boolean,
): Promise<void> {
  if (dialectOf(db).ddlIsTransactional) {
    await db.executeQuery(statement);
    return;
  }
  const record = (handle: AnyKysely, column: 'steps_done' | 'step_begun') =>
    migrationTable(handle)
      .updateTable('schema_migration')
      .set({ [column]: step })
      .where('id', '=', id)
      .execute();
  if (changesRowsOnly(statement)) {
    await db.transaction().execute(async trx => {
      await trx.executeQuery(statement);
      await record(trx, 'steps_done');
    });
    return;
  }
  await record(db, 'step_begun');
  try {
    await db.executeQuery(statement);
  } catch (error) {
    // A single schema change is atomic: begun before the crash and "already so" now means it was done.
    if (!mayBeDone || classifyDatabaseError(error) !== 'already-so') throw error;
  }
  await record(db, 'steps_done');
}
