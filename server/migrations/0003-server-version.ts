import type { Migration } from '../../lib/database/migration.ts';

/** Which server gave an attempt out: a column that older servers do not know and leave empty. */
export const serverVersion: Migration = {
  id: '0003-server-version',
  owner: 'server',
  class: 'stable',
  readableBy: 1,
  up: async (db, t) => {
    await db.schema.alterTable('attempt').addColumn('server_version', t.textOf(100)).execute();
  },
};
