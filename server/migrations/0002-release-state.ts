import type { Migration } from '../../lib/database/migration.ts';

/** What the signed code store said last: one row, so that no restart and no server of an instance goes back behind it. */
export const releaseState: Migration = {
  id: '0002-release-state',
  owner: 'server',
  class: 'stable',
  readableBy: 1,
  up: async (db, t) => {
    await db.schema
      .createTable('release_state')
      .addColumn('id', t.integer, column => column.primaryKey().notNull())
      .addColumn('turn', t.bigint, column => column.notNull().defaultTo(0))
      .addColumn('state_json', t.json, column => column.notNull())
      .execute();
  },
};
