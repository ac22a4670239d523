import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { LocalKeeper } from '../../../../../codecache/proxy/objects/local-keeper.ts';
import { objectNames, objectPath } from '../../../../../codecache/proxy/objects/object-place.ts';
import { verifyObjects } from '../../../../../codecache/proxy/objects/verify-objects.ts';
import { silentLog } from '../../../../../lib/log.ts';
import { waitUntil } from '../../../../lab/wait-until.ts';

async function keeperFor(t: TestContext, maxBytes: number) {
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-keeper-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const keeper = new LocalKeeper({ directory, maxBytes, log: silentLog });
  await keeper.load();
  return { directory, keeper };
}

/** Puts an object of so many bytes in its place. */
async function place(directory: string, bytes: number, usedSeconds?: number): Promise<string> {
  const body = randomBytes(bytes);
  const sha256 = createHash('sha256').update(body).digest('hex');
  const path = objectPath(directory, sha256);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, body);
  if (usedSeconds !== undefined) await utimes(path, usedSeconds, 1000);
  return sha256;
}

const onDisk = async (directory: string) => (await Array.fromAsync(objectNames(directory))).toSorted();

test('over the quota the least recently used go, down to 80 %, and the newest stays', async t => {
  const { directory, keeper } = await keeperFor(t, 1000);
  const names: string[] = [];
  for (let n = 0; n < 10; n += 1) {
    const name = await place(directory, 100);
    names.push(name);
    keeper.kept(name, 100);
  }
  keeper.used(names[0]!);
  assert.equal(keeper.usage().bytes, 1000);
  const newest = await place(directory, 100);
  keeper.kept(newest, 100);
  await waitUntil('down to the low water', () => keeper.usage().bytes === 800);
  await waitUntil('from disk as well', async () => (await onDisk(directory)).length === 8);
  assert.deepEqual(await onDisk(directory), [names[0]!, ...names.slice(4), newest].toSorted());
  assert.equal(keeper.usage().evicted, 3);
});

test('what channels point to stays; a quota of pinned objects keeps nothing new and removes nothing in vain', async t => {
  const { directory, keeper } = await keeperFor(t, 1000);
  const pinned = await place(directory, 800);
  keeper.pin('', [pinned]);
  keeper.kept(pinned, 800);
  const [one, two] = [await place(directory, 100), await place(directory, 500)];
  keeper.kept(one, 100);
  keeper.kept(two, 500);
  await waitUntil(
    'what does not fit beside it is not kept',
    async () => !(await onDisk(directory)).includes(two),
  );
  assert.deepEqual(await onDisk(directory), [pinned, one].toSorted());
  assert.deepEqual(keeper.usage(), { objects: 2, bytes: 900, pinned: 1, pinnedBytes: 800, evicted: 1 });
  assert.equal(await keeper.makeRoom(500), 0);
  assert.equal(await keeper.makeRoom(50), 100);
  assert.deepEqual(await onDisk(directory), [pinned]);
  keeper.pin('', []);
  assert.equal(keeper.usage().pinned, 0);
  assert.equal(await keeper.makeRoom(1), 800);
});

test('over the quota what is pinned stays, however long unused, and what came last beside it', async t => {
  const { directory, keeper } = await keeperFor(t, 1000);
  const [pinned, one, two] = await Promise.all([800, 100, 190].map(bytes => place(directory, bytes)));
  keeper.pin('', [pinned!]);
  for (const [name, bytes] of [
    [pinned!, 800],
    [one!, 100],
    [two!, 190],
  ] as const)
    keeper.kept(name, bytes);
  await waitUntil('one is removed', async () => !(await onDisk(directory)).includes(one!));
  assert.deepEqual(await onDisk(directory), [pinned!, two!].toSorted());
  assert.equal(keeper.usage().bytes, 990);
});

test('pins use at most 90 % of the quota, of all views together', async t => {
  const { directory, keeper } = await keeperFor(t, 1000);
  const names = await Promise.all([600, 250, 100].map(bytes => place(directory, bytes)));
  for (const [index, bytes] of [600, 250, 100].entries()) keeper.kept(names[index]!, bytes);
  keeper.pin('', names.slice(0, 2));
  keeper.pin('http://origin', names.slice(1));
  assert.equal(keeper.usage().pinnedBytes, 850);
  keeper.pin('', []);
  assert.equal(keeper.usage().pinnedBytes, 350);
});

test('a start finds what is there in the order of its use, and removes what ended processes were receiving', async t => {
  const { directory, keeper } = await keeperFor(t, 1000);
  const names = await Promise.all([3000, 1000, 2000].map(used => place(directory, 300, used)));
  keeper.kept(names[1]!, 300);
  keeper.used(names[1]!);
  const ended = 2 ** 22 + 1;
  for (const pid of [ended, process.pid, process.ppid])
    await writeFile(join(directory, 'incoming', `${pid}-x`), 'x');
  await writeFile(join(directory, 'objects', 'README'), 'not an object');
  const usedMs = async () => (await stat(objectPath(directory, names[1]!))).atimeMs;
  await waitUntil('the use was noted on disk', async () => (await usedMs()) > 4_000_000);
  const again = new LocalKeeper({ directory, maxBytes: 700, log: silentLog });
  await again.load();
  assert.deepEqual(await onDisk(directory), [names[1]!], 'used last');
  assert.deepEqual(await readdir(join(directory, 'incoming')), [`${process.ppid}-x`]);
});

test('purging tells every process, also of what is in no file', async t => {
  const { directory, keeper } = await keeperFor(t, 1000);
  const [one, two] = [await place(directory, 10), await place(directory, 10)];
  keeper.kept(one, 10);
  keeper.kept(two, 10);
  const told: unknown[] = [];
  keeper.onForgotten(objects => told.push(objects));
  const nowhere = '0'.repeat(64);
  assert.deepEqual(await keeper.purge([one, nowhere]), [one]);
  assert.deepEqual(told, [[one, nowhere]]);
  assert.deepEqual(await onDisk(directory), [two]);
  const byHand = await place(directory, 10);
  assert.deepEqual((await keeper.purge()).toSorted(), [two, byHand].toSorted());
  assert.deepEqual(told, [[one, nowhere], 'all']);
  assert.deepEqual(keeper.usage(), { objects: 0, bytes: 0, pinned: 0, pinnedBytes: 0, evicted: 0 });
});

test('verifying hashes everything again, removes what is damaged and names it', async t => {
  const { directory, keeper } = await keeperFor(t, 1_000_000);
  const names = await Promise.all(Array.from({ length: 7 }, () => place(directory, 1000)));
  for (const name of names) keeper.kept(name, 1000);
  await writeFile(objectPath(directory, names[3]!), randomBytes(1000));
  const told: unknown[] = [];
  keeper.onForgotten(objects => told.push(objects));
  const seen: number[] = [];
  const { objects, bytes, damaged, unreadable } = await verifyObjects({
    directory,
    keeper,
    onProgress: progress => seen.push(progress.objects),
  });
  assert.deepEqual(
    { objects, bytes, damaged, unreadable },
    { objects: 7, bytes: 7000, damaged: [names[3]!], unreadable: [] },
  );
  assert.deepEqual(told, [[names[3]!]]);
  assert.deepEqual(seen, [1, 2, 3, 4, 5, 6, 7]);
  assert.equal(keeper.usage().objects, 6);
  await assert.rejects(verifyObjects({ directory, keeper, signal: AbortSignal.abort() }), {
    name: 'AbortError',
  });
});

test('on a full disk many who ask at once have one tenth removed, not one each', async t => {
  const { directory, keeper } = await keeperFor(t, 10_000);
  for (let n = 0; n < 40; n += 1) keeper.kept(await place(directory, 100), 100);
  const rooms = await Promise.all(Array.from({ length: 5 }, () => keeper.makeRoom(50)));
  assert.deepEqual(rooms, [400, 50, 50, 50, 50]);
  assert.equal(keeper.usage().evicted, 4);
  assert.deepEqual(await Promise.all([keeper.makeRoom(400), keeper.makeRoom(50)]), [400, 400]);
});

test('what is no object in the directory is passed over', async t => {
  const { directory, keeper } = await keeperFor(t, 1000);
  await writeFile(join(directory, 'objects', 'ab'), 'no directory');
  await mkdir(objectPath(directory, 'cd'.padEnd(64, '0')), { recursive: true });
  await keeper.load();
  assert.equal(keeper.usage().objects, 0);
});

test('what an ended process was receiving is removed, what others receive is not', async t => {
  const { directory, keeper } = await keeperFor(t, 1000);
  const incoming = join(directory, 'incoming');
  for (const pid of [2 ** 22 + 1, process.pid]) await writeFile(join(incoming, `${pid}-x`), 'x');
  await keeper.clearIncoming();
  assert.deepEqual(await readdir(incoming), [`${process.pid}-x`]);
  await rm(incoming, { recursive: true });
  await keeper.clearIncoming();
});
