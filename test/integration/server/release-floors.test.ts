import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../../lib/clock.ts';
import { openDatabase } from '../../../lib/database/open-database.ts';
import { migrate } from '../../../lib/database/migrate.ts';
import { silentLog } from '../../../lib/log.ts';
import { watchFloors } from '../../../server/logic/release-floors.ts';
import { ReleaseState } from '../../../server/logic/release-state.ts';
import { serverMigrations } from '../../../server/migrations/all.ts';
import { readReleaseState } from '../../../server/queries/read-release-state.ts';
import { writeReleaseState } from '../../../server/queries/write-release-state.ts';
import type { ServerTables } from '../../../server/schema.ts';
import { rotateKey } from '../../../signing/release/repository/rotate-key.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import { amendPointer } from '../../lab/revoke.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import type { Ending } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';

const DAY_MS = 86_400_000;

/** A published repository, a database, and servers' watches over both. */
async function open(t: Ending) {
  const directory = await temporaryDirectory(t, 'floors');
  const time = { ms: Date.now() };
  const clock = { ...systemClock, now: () => time.ms };
  const repository = await makeReleaseRepository({ directory, clock });
  await repository.addPilot('2.0.0');
  const rootFile = join(directory, 'pinned.json');
  await writeFile(rootFile, repository.rootJson);
  const database = await openDatabase<ServerTables>(`sqlite:${join(directory, 'db.sqlite')}`);
  t.after(() => database.close());
  await migrate(database, serverMigrations);
  const store = { directory: repository.publicDirectory, rootFile, refreshSeconds: 0.02 };
  return {
    repository,
    database,
    store,
    time,
    watch: async () => {
      const options = { database, clock, log: silentLog };
      const watch = await watchFloors({ store, queues: [{ name: 'q1' }] }, options);
      t.after(() => watch.close());
      return watch;
    },
  };
}

describe("a server's view of the code store", () => {
  test('a revocation arrives, and survives restarts and a store that is gone or set back', async t => {
    const { repository, store, watch } = await open(t);
    const first = await watch();
    const before = first.current()!;
    assert.deepEqual([first.judge('1.0.0', 'q1'), first.killed()], ['good', []]);
    await amendPointer(repository, 'stable', { yanked: ['0.9.0', '1.0.0'], kill: ['0.9.0'] });
    await waitUntil('the revocation is known', () => first.judge('1.0.0', 'q1') === 'withdrawn');
    assert.deepEqual([first.judge('0.9.0', 'q1'), first.killed()], ['killed', ['0.9.0']]);
    assert.equal(first.current()!.channelSerials.stable, before.channelSerials.stable! + 1);
    const floors = first.current();
    await first.close();
    await rename(store.directory, `${store.directory}.gone`);
    const second = await watch();
    assert.deepEqual([second.current(), second.fresh()], [floors, true]);
    assert.equal(second.judge('1.0.0', 'q1'), 'withdrawn');
  });

  test('what one server learns the other knows, though it cannot reach the store', async t => {
    const { repository, store, watch } = await open(t);
    const seeing = await watch();
    const moved = `${store.directory}.elsewhere`;
    store.directory = moved;
    const blind = await watch();
    assert.deepEqual(blind.current(), seeing.current());
    await amendPointer(repository, 'stable', { min_version: '1.5.0' });
    await waitUntil('the other heard of it', () => blind.judge('1.0.0', 'q1') === 'withdrawn');
    assert.equal(blind.judge('1.5.0', 'q1'), 'good');
  });

  test('what a thief of the online keys drove up is forgotten with those keys, and with nothing less', async t => {
    const { repository, database, watch } = await open(t);
    const first = await watch();
    const { timestamp } = first.current()!;
    await first.close();
    const kept = ReleaseState.parse(JSON.parse((await readReleaseState(database.db))!));
    kept.floors.timestamp = kept.floors.snapshot = 2 ** 50;
    await writeReleaseState(database.db, JSON.stringify(kept));
    const view = await watch();
    await repository.refresh();
    assert.equal(view.current()!.timestamp, 2 ** 50, 'the same keys: the store is behind what was seen');
    await rotateKey({ ...repository.context, roles: ['timestamp'] });
    await repository.publish();
    await waitUntil('the new keys count', () => view.current()!.timestamp < 2 ** 50);
    const now = view.current()!;
    assert.ok(now.root === 2 && now.timestamp > timestamp && now.snapshot < 2 ** 50, JSON.stringify(now));
  });

  test('a channel that nobody follows may expire: the others still speak', async t => {
    const { repository, time, watch } = await open(t);
    const view = await watch();
    time.ms += 15 * DAY_MS; // dev lives for 14 days
    await repository.refresh();
    await waitUntil('the new timestamp is verified', () => view.fresh());
    await amendPointer(repository, 'stable', { yanked: ['1.0.0'] });
    await waitUntil('the revocation is known', () => view.judge('1.0.0', 'q1') === 'withdrawn');
    time.ms += 2 * DAY_MS;
    assert.equal(view.fresh(), false, 'the timestamp is over');
  });

  test('a channel that a queue follows may not', async t => {
    const { repository, time, watch } = await open(t);
    const view = await watch();
    time.ms += 61 * DAY_MS; // stable lives for 60 days
    for (const role of ['releases', 'queues', 'canary'] as const) await repository.resign(role);
    await repository.publish();
    await waitUntil('the newest timestamp is verified', () => view.current()!.timestamp > 2);
    assert.equal(view.fresh(), false);
    await repository.resign('stable');
    await repository.publish();
    await waitUntil('it is signed again', () => view.fresh());
  });
});
