import type { Migration } from '../../../lib/database/migration.ts';

/** A release repository in a database: files by path, their bytes in chunks, and who may write. */
export interface StorageTables {
  release_file: {
    path: string;
    /** Names the chunks; a file that is replaced gets new ones, so that nobody reads half of each. */
    content: string;
    size: number;
    modified_ms: number;
  };
  /** {@link CHUNK_BYTES} each; the last one of a file is shorter. */
  release_chunk: { content: string; number: number; bytes: Uint8Array };
  /** One row: the last one who took the repository's lock, and how often it was written. */
  release_lock: { id: number; owner: string; writes: number };
}

export const CHUNK_BYTES = 1 << 18;

const files: Migration = {
  id: '0001-release-files',
  owner: 'release-store',
  class: 'stable',
  readableBy: 1,
  up: async (db, t) => {
    await db.schema
      .createTable('release_file')
      .addColumn('path', t.textOf(700), column => column.primaryKey().notNull())
      .addColumn('content', t.id, column => column.notNull())
      .addColumn('size', t.bigint, column => column.notNull())
      .addColumn('modified_ms', t.epochMs, column => column.notNull())
      .execute();
    await db.schema
      .createTable('release_chunk')
      .addColumn('content', t.id, column => column.notNull())
      .addColumn('number', t.integer, column => column.notNull())
      .addColumn('bytes', t.bytes, column => column.notNull())
      .addPrimaryKeyConstraint('release_chunk_key', ['content', 'number'])
      .execute();
    await db.schema
      .createTable('release_lock')
      .addColumn('id', t.integer, column => column.primaryKey().notNull())
      .addColumn('owner', t.id, column => column.notNull())
      .addColumn('writes', t.bigint, column => column.notNull())
      .execute();
  },
};

/** Append only. */
export const storageMigrations: readonly Migration[] = [files];
