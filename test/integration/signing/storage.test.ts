import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as fc from 'fast-check';
import { sql } from 'kysely';
import { openDatabase } from '../../../lib/database/open-database.ts';
import { openStorage } from '../../../signing/release/storage/open-storage.ts';
import type { StorageTables } from '../../../signing/release/storage/database-tables.ts';
import { startDaemon } from '../../lab/daemon.ts';
import { forEachStorage } from '../../lab/storages.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';

const MIB = 1 << 20;
/** Bytes that are alike nowhere, several chunks of them. */
const large = Buffer.from(Uint32Array.from({ length: 350_000 }, (_, index) => index * 2_654_435_761).buffer);
const lockHolder = fileURLToPath(new URL('lock-holder.ts', import.meta.url));

forEachStorage(['file tree', 'sqlite', 'postgres', 'mariadb'], (backEnd, storageTest) => {
  storageTest('a created file keeps its bytes, whoever comes second', async ({ open }) => {
    const storage = await open();
    assert.equal(await storage.read('public/a.json', 100), null);
    assert.equal(await storage.open('public/a.json'), null);
    const answers = await Promise.all(
      ['one', 'two', 'three'].map(text => storage.create('public/a.json', Buffer.from(text))),
    );
    assert.equal(answers.filter(Boolean).length, 1);
    const winner = ['one', 'two', 'three'][answers.indexOf(true)]!;
    assert.equal((await storage.read('public/a.json', 100))?.toString(), winner);
    await storage.create('public/empty', Buffer.alloc(0));
    assert.equal((await storage.read('public/empty', 0))?.length, 0);
    const again = await open('write');
    assert.equal((await again.read('public/a.json', 100))?.toString(), winner);
  });

  storageTest('a large file comes from a local one, and goes out whole or in ranges', async ({ open }, t) => {
    const storage = await open();
    const local = join(await temporaryDirectory(t), 'large');
    await writeFile(local, large);
    assert.equal(await storage.createFrom('public/large', local), true);
    assert.equal(await storage.createFrom('public/large', import.meta.filename), false);
    assert.deepEqual(await storage.read('public/large', 2 * MIB), large);
    await assert.rejects(storage.read('public/large', MIB), { code: 'E_FILE_UNREADABLE' });
    const part = async (start?: number, end?: number) => {
      const file = (await storage.open('public/large'))!;
      try {
        assert.equal(file.size, large.length);
        assert.ok(Math.abs(file.modifiedMs - Date.now()) < 60_000);
        return Buffer.concat(await file.stream(start, end).toArray());
      } finally {
        await file.close();
      }
    };
    const edges = [0, 1, (1 << 18) - 1, 1 << 18, MIB, large.length - 1];
    for (const start of edges) {
      for (const end of edges.filter(edge => edge >= start)) {
        assert.ok((await part(start, end)).equals(large.subarray(start, end + 1)), `${start}-${end}`);
      }
    }
    assert.ok((await part(MIB)).equals(large.subarray(MIB)));
  });

  storageTest('whoever reads a file that is replaced sees the old bytes or the new', async ({ open }) => {
    const storage = await open();
    const version = (number: number) => Buffer.alloc(300_000 + number, number);
    await storage.replace('public/metadata/timestamp.json', version(1));
    const done = new AbortController();
    const reader = async () => {
      const other = await open('write');
      const tags = new Map<string, number>();
      while (!done.signal.aborted) {
        const bytes = (await other.read('public/metadata/timestamp.json', MIB))!;
        assert.ok(bytes.equals(version(bytes[0]!)));
        const file = (await other.open('public/metadata/timestamp.json'))!;
        const known = tags.get(file.tag);
        assert.ok(known === undefined || known === file.size, 'a tag belongs to one content');
        tags.set(file.tag, file.size);
        await file.close();
      }
    };
    const reading = reader();
    for (let number = 2; number <= 30; number += 1) {
      await storage.replace('public/metadata/timestamp.json', version(number));
    }
    done.abort();
    await reading;
    assert.ok((await storage.read('public/metadata/timestamp.json', MIB))!.equals(version(30)));
  });

  storageTest('appending goes on after what counts and drops a torn end', async ({ open }) => {
    const storage = await open();
    let expected = Buffer.alloc(0);
    for (const [offset, size] of [
      [0, 10],
      [10, 0],
      [7, 300_000],
      [300_007, 524_288],
      [524_288, 5],
      [262_144, 0],
      [262_144, 400_000],
    ] as const) {
      const bytes = large.subarray(offset, offset + size);
      await storage.append('public/log.jsonl', offset, bytes);
      expected = Buffer.concat([expected.subarray(0, offset), bytes]);
      assert.ok((await storage.read('public/log.jsonl', 2 * MIB))!.equals(expected), `${offset}+${size}`);
    }
    await assert.rejects(storage.append('public/log.jsonl', MIB, Buffer.from('x')), {
      code: 'E_FILE_UNREADABLE',
      where: storage.where('public/log.jsonl'),
    });
    assert.ok((await storage.read('public/log.jsonl', 2 * MIB))!.equals(expected));
  });

  storageTest('lists what is in a directory, and removes', async ({ open }) => {
    const storage = await open();
    const paths = ['public/a', 'public/b/c', 'public/b/d', 'public0', 'public-x/e', 'staged/1.x.json'];
    for (const path of paths) await storage.create(path, Buffer.from(path));
    assert.deepEqual(await storage.list('public'), ['a']);
    assert.deepEqual(await storage.listAll('public'), ['public/a', 'public/b/c', 'public/b/d']);
    assert.deepEqual(await storage.list('nothing'), []);
    assert.deepEqual(await storage.listAll('nothing'), []);
    await storage.remove('public/b/c');
    await storage.remove('public/b/c');
    assert.deepEqual(await storage.listAll('public'), ['public/a', 'public/b/d']);
    assert.equal(await storage.create('public/b/c', Buffer.from('again')), true);
  });

  storageTest('no path leads out of the repository', async ({ open }) => {
    const storage = await open();
    const part = fc.constantFrom('..', '.', '', '.hidden', 'a', 'public');
    const parts = fc
      .array(part, { minLength: 1, maxLength: 5 })
      .filter(all => all.some(one => one === '' || one.startsWith('.')));
    const rule = fc.asyncProperty(parts, async bad => {
      const path = bad.join('/');
      const refused = { code: 'E_FILE_UNREADABLE' };
      await assert.rejects(async () => storage.read(path, 10), refused);
      await assert.rejects(async () => storage.open(path), refused);
      await assert.rejects(async () => storage.create(path, Buffer.alloc(0)), refused);
      await assert.rejects(async () => storage.createFrom(path, lockHolder), refused);
      await assert.rejects(async () => storage.replace(path, Buffer.alloc(0)), refused);
      await assert.rejects(async () => storage.append(path, 0, Buffer.alloc(0)), refused);
      await assert.rejects(async () => storage.remove(path), refused);
      await assert.rejects(async () => storage.listAll(path), refused);
    });
    await fc.assert(rule, { numRuns: 20 });
  });

  storageTest('one process at a time has the lock, and kill -9 frees it', async ({ open, place }) => {
    const storage = await open();
    const hold = () =>
      startDaemon({
        name: 'lock holder',
        command: process.execPath,
        args: [lockHolder, place],
        ready: ({ stdout }) => stdout().includes('\n'),
      });
    const first = await hold();
    assert.equal(first.stdout(), 'held\n');
    assert.equal(await storage.tryLock(), null);
    await first.kill();
    const lock = await waitUntil('the lock is free', () => storage.tryLock());
    await lock.release();
  });

  if (backEnd === 'file tree') return;

  storageTest('who lost the lock to another writes nothing more', async ({ open, place }) => {
    const [storage, other] = [await open(), await open()];
    await storage.tryLock();
    await storage.create('public/before', Buffer.from('x'));
    // What a server does when it takes a session for dead.
    const database = await openDatabase<StorageTables>(place);
    try {
      if (backEnd === 'postgres') {
        await sql`select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'`.execute(
          database.db,
        );
      } else {
        await database.db.updateTable('release_lock').set({ owner: 'another' }).execute();
      }
    } finally {
      await database.close();
    }
    if (backEnd === 'postgres') {
      await storage.create('public/nobody-took-it', Buffer.from('x'));
      await waitUntil('the lock is free', () => other.tryLock());
    }
    const lost = { code: 'E_REPOSITORY_LOCK_LOST', where: storage.name };
    await assert.rejects(storage.create('public/after', Buffer.from('x')), lost);
    await assert.rejects(storage.replace('public/before', Buffer.from('y')), lost);
    await assert.rejects(storage.append('public/before', 1, Buffer.from('y')), lost);
    await assert.rejects(storage.remove('public/before'), lost);
    assert.equal((await other.read('public/before', 10))?.toString(), 'x');
    assert.equal(await other.read('public/after', 10), null);
  });

  storageTest(
    'a database without a repository is named, and nothing is made in it',
    async ({ open, place }) => {
      await assert.rejects(open('write'), { code: 'E_REPOSITORY_MISSING' });
      await assert.rejects(open('read'), { code: 'E_REPOSITORY_MISSING' });
      await open('make');
      await open('read');
      if (backEnd !== 'sqlite') {
        await assert.rejects(openStorage(place.replace('@', ':word@')), { code: 'E_DATABASE_URL' });
      }
    },
  );
});
