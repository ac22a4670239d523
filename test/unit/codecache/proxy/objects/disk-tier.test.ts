import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { BufferPool } from '../../../../../codecache/proxy/objects/buffer-pool.ts';
import { DiskTier } from '../../../../../codecache/proxy/objects/disk-tier.ts';
import { IncomingFile } from '../../../../../codecache/proxy/objects/incoming-file.ts';
import { LocalKeeper } from '../../../../../codecache/proxy/objects/local-keeper.ts';
import { systemClock } from '../../../../../lib/clock.ts';
import { silentLog } from '../../../../../lib/log.ts';

/** A file on a disk that is full after `free` bytes, once, and a keeper that can make so much room. */
async function onFullDisk(t: TestContext, { free, room }: { free: number; room: number }) {
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-disk-tier-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const keeper = new LocalKeeper({ directory, maxBytes: 1000, log: silentLog });
  t.mock.method(keeper, 'makeRoom', () => Promise.resolve(room));
  const disk = new DiskTier({ directory, keeper, clock: systemClock, log: silentLog });
  const path = join(directory, 'file');
  const file = await IncomingFile.create(path, new BufferPool());
  t.after(() => file.close());
  const append = file.append.bind(file);
  let full = false;
  t.mock.method(file, 'append', async (bytes: Buffer) => {
    if (full) return append(bytes);
    full = true;
    await append(bytes.subarray(0, free));
    throw Object.assign(new Error('full'), { code: 'ENOSPC' });
  });
  return { disk, file, read: () => readFile(path, 'utf8') };
}

test('a disk that is full in the middle of a write is given room, and the rest is written', async t => {
  const { disk, file, read } = await onFullDisk(t, { free: 4, room: 100 });
  await disk.append(file, Buffer.from('0123456789'));
  assert.equal(await read(), '0123456789');
  assert.deepEqual(disk.stats(), { failures: 0, degraded: 0 });
});

test('where no room can be made the disk has failed, and is not tried for a while', async t => {
  const { disk, file } = await onFullDisk(t, { free: 4, room: 0 });
  await assert.rejects(disk.append(file, Buffer.from('0123456789')), { code: 'ENOSPC' });
  assert.deepEqual(disk.stats(), { failures: 1, degraded: 1 });
  assert.equal(await disk.incoming(10), undefined);
});

test('an object larger than the whole disk is no failure of the disk', async t => {
  const { disk } = await onFullDisk(t, { free: 0, room: 0 });
  assert.equal(await disk.incoming(2 ** 53), undefined);
  assert.deepEqual(disk.stats(), { failures: 0, degraded: 0 });
});
