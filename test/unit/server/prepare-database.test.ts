import assert from 'node:assert/strict';
import { silentLog } from '../../../lib/log.ts';
import { prepareDatabase } from '../../../server/logic/prepare-database.ts';
import type { ServerTables } from '../../../server/schema.ts';
import { forEachDatabase } from '../../lab/databases.ts';

const queue = (name: string, maxPilots = 1) => ({
  name,
  vo: 'physics',
  maxPilots,
  allowContainment: ['none' as const],
  labels: ['user' as const],
});
const config = (more = {}) => ({
  instance: 'lab',
  pandaIds: { first: 1, last: 100 },
  queues: [queue('q1'), queue('q2')],
  ...more,
});

forEachDatabase((_dialect, databaseTest) => {
  databaseTest('servers that start at the same time agree on one database', async database => {
    const opened = await Promise.all([1, 2, 3].map(() => database.open<ServerTables>()));
    await Promise.all(opened.map(one => prepareDatabase(one, config(), silentLog)));
    const { db } = opened[0]!;
    assert.equal((await db.selectFrom('service').selectAll().execute()).length, 1);
    assert.equal((await db.selectFrom('counter').selectAll().execute()).length, 1);
    assert.equal((await db.selectFrom('queue').selectAll().execute()).length, 2);
  });

  databaseTest(
    'a later start changes queues and retires those no longer named, and keeps the rest',
    async database => {
      const opened = await database.open<ServerTables>();
      await prepareDatabase(opened, config(), silentLog);
      const before = await opened.db.selectFrom('service').selectAll().executeTakeFirstOrThrow();
      await prepareDatabase(opened, config({ queues: [queue('q1', 7), queue('Q1', 3)] }), silentLog);
      const rows = await opened.db
        .selectFrom('queue')
        .select(['name', 'max_pilots', 'retired'])
        .orderBy('name')
        .execute();
      assert.deepEqual(
        rows.map(row => `${row.name} ${row.max_pilots} ${row.retired}`).toSorted((a, b) => (a < b ? -1 : 1)),
        ['Q1 3 0', 'q1 7 0', 'q2 1 1'],
      );
      assert.deepEqual(await opened.db.selectFrom('service').selectAll().executeTakeFirst(), before);
      const moved = config({ queues: [{ ...queue('q1'), vo: 'biology' }] });
      await assert.rejects(prepareDatabase(opened, moved, silentLog), {
        code: 'E_CONFIG_INVALID',
        expected: 'physics',
        found: 'biology',
      });
      await assert.rejects(prepareDatabase(opened, config({ instance: 'other' }), silentLog), {
        code: 'E_INSTANCE_MISMATCH',
      });
    },
  );
});
