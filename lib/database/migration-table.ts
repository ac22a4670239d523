import type { Kysely, Selectable } from 'kysely';
import type { AnyKysely } from './dialect.ts';
import { dialectOf } from './dialects.ts';

/** One row per migration begun. The layout is fixed for all releases: an older one must be able to read it. */
export interface MigrationRow {
  id: string;
  owner: string;
  class: string;
  readable_by: number;
  checksum: string;
  /** Statements finished, and the one begun last: what a crash in between is resumed by (MariaDB). */
  steps_done: number;
  step_begun: number;
  /** The database's clock when the last statement was done; null until then. */
  applied_ms: number | null;
}

export interface MigrationSchema {
  schema_migration: MigrationRow;
}

export const migrationTable = (db: AnyKysely): Kysely<MigrationSchema> => db as Kysely<MigrationSchema>;

export async function createMigrationTable(db: AnyKysely): Promise<void> {
  const { columnTypes: types } = dialectOf(db);
  await db.schema
    .createTable('schema_migration')
    .ifNotExists()
    .addColumn('id', types.id, column => column.primaryKey().notNull())
    .addColumn('owner', types.id, column => column.notNull())
    .addColumn('class', types.id, column => column.notNull())
    .addColumn('readable_by', types.integer, column => column.notNull())
    .addColumn('checksum', types.id, column => column.notNull())
    .addColumn('steps_done', types.integer, column => column.notNull())
    .addColumn('step_begun', types.integer, column => column.notNull())
    .addColumn('applied_ms', types.epochMs)
    .execute();
}

/** All rows in order of their ids; none when the table is not there yet. */
export async function readMigrationTable(db: AnyKysely): Promise<Selectable<MigrationRow>[]> {
  try {
    return await migrationTable(db).selectFrom('schema_migration').selectAll().orderBy('id').execute();
  } catch (error) {
    const tables = await db.introspection.getTables();
    if (tables.some(table => table.name === 'schema_migration')) throw error;
    return [];
  }
}
