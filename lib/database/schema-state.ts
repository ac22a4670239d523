import { databaseError } from './errors.ts';
import type { Database } from './database.ts';
import type { AnyKysely, DialectName } from './dialect.ts';
import { checkMigrations, productLevel } from './migration.ts';
import type { Migration } from './migration.ts';
import { readMigrationTable } from './migration-table.ts';
import type { MigrationRow } from './migration-table.ts';
import { migrationChecksum, statementsFor, tablesCreated } from './record-statements.ts';

/** How a database's schema and a product's migrations fit together; each list holds migration ids in order. */
export interface SchemaState {
  /** The product can work on this database: nothing is missing, changed or refused. */
  ready: boolean;
  applied: string[];
  /** Shipped with the product, not (or not wholly) applied: `migrate` applies them. */
  missing: string[];
  /** Applied in another wording than the product ships. */
  changed: string[];
  /** Of a newer product which declares them readable by this one. */
  ahead: string[];
  /** Of a newer product, and not readable by this one. */
  unknown: string[];
}

/** Reads the state, for readiness and before migrating. */
export const schemaState = <Schema>(
  database: Database<Schema>,
  migrations: readonly Migration[],
): Promise<SchemaState> => stateOf(database.db, migrations);

/**
 * For a product that must not run on a schema which does not fit it.
 *
 * @throws E_SCHEMA_OUTDATED (run the migrations first), E_SCHEMA_UNKNOWN, E_MIGRATION_CHANGED.
 */
export async function requireSchema<Schema>(
  database: Database<Schema>,
  migrations: readonly Migration[],
): Promise<SchemaState> {
  const state = await schemaState(database, migrations);
  refuseMisfit(state);
  if (state.missing.length > 0) {
    throw databaseError({
      code: 'E_SCHEMA_OUTDATED',
      message: 'The database has an older schema than this release needs.',
      where: 'table schema_migration',
      found: `not applied: ${state.missing.join(', ')}`,
      fix: 'Apply the migrations: pilotage db migrate --database URL.',
    });
  }
  return state;
}

/** As {@link schemaState}, through a handle or transaction. */
export async function stateOf(db: AnyKysely, migrations: readonly Migration[]): Promise<SchemaState> {
  checkMigrations(migrations);
  const rows = new Map((await readMigrationTable(db)).map(row => [row.id, row]));
  const state: Omit<SchemaState, 'ready'> = { applied: [], missing: [], changed: [], ahead: [], unknown: [] };
  for (const migration of migrations) {
    const row = rows.get(migration.id);
    rows.delete(migration.id);
    if (row !== undefined && row.checksum !== (await migrationChecksum(migration)))
      state.changed.push(migration.id);
    else if (row === undefined || row.applied_ms === null) state.missing.push(migration.id);
    else state.applied.push(migration.id);
  }
  for (const row of rows.values()) (isReadable(row, migrations) ? state.ahead : state.unknown).push(row.id);
  const ready = [state.missing, state.changed, state.unknown].every(list => list.length === 0);
  return { ready, ...state };
}

const isReadable = (row: MigrationRow, migrations: readonly Migration[]): boolean =>
  row.readable_by <= productLevel(migrations, row.owner);

/** @throws E_SCHEMA_UNKNOWN, E_MIGRATION_CHANGED: nothing this product may touch. */
export function refuseMisfit(state: SchemaState): void {
  if (state.unknown.length > 0) {
    throw databaseError({
      code: 'E_SCHEMA_UNKNOWN',
      message: 'The database was changed by a newer release, in a way this release cannot work with.',
      where: 'table schema_migration',
      expected: 'only migrations this release knows, or newer ones declared readable by it',
      found: state.unknown.join(', '),
      fix: 'Run the newer release, or restore the backup made before it.',
    });
  }
  if (state.changed.length > 0) {
    throw databaseError({
      code: 'E_MIGRATION_CHANGED',
      message: 'A migration that was applied to this database reads differently in this release.',
      where: `migration ${state.changed.join(', ')}`,
      expected: 'the same statements as when it was applied (column "checksum" of schema_migration)',
      fix: 'Use an unmodified release. A migration is never edited once released; a new one corrects it.',
    });
  }
}

export interface PlannedMigration {
  id: string;
  owner: string;
  class: Migration['class'];
  state: 'applied' | 'missing' | 'changed';
  /** What `migrate` would run, in this database's SQL; empty unless missing. */
  statements: string[];
}

/** What `migrate` would do, without doing it. Misfits show as `changed` or in {@link schemaState}'s `unknown`. */
export async function migrationPlan<Schema>(
  database: Database<Schema>,
  migrations: readonly Migration[],
): Promise<PlannedMigration[]> {
  const state = await schemaState(database, migrations);
  return Promise.all(migrations.map(migration => planned(migration, state, database.dialect)));
}

async function planned(
  migration: Migration,
  state: SchemaState,
  dialect: DialectName,
): Promise<PlannedMigration> {
  const { id, owner } = migration;
  const part = { id, owner, class: migration.class };
  if (state.changed.includes(id)) return { ...part, state: 'changed', statements: [] };
  if (!state.missing.includes(id)) return { ...part, state: 'applied', statements: [] };
  const statements = await statementsFor(migration, dialect);
  return { ...part, state: 'missing', statements: statements.map(({ sql }) => sql) };
}

/** Every table the migrations create, with its owner and class; needs no database. */
export async function schemaOwners(
  migrations: readonly Migration[],
): Promise<{ table: string; owner: string; class: Migration['class']; migration: string }[]> {
  const lists = await Promise.all(
    migrations.map(async migration =>
      (await tablesCreated(migration)).map(table => ({
        table,
        owner: migration.owner,
        class: migration.class,
        migration: migration.id,
      })),
    ),
  );
  return lists.flat().toSorted((a, b) => (a.table < b.table ? -1 : 1));
}
