import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { takeNodeLock } from '../../../../codecache/client/node-lock.ts';
import { temporaryDirectory } from '../../../lab/temporary.ts';

/** Each wait is a second long, and the world moves on in it: `steps[n]` runs in the n-th. */
function clockWith(steps: Record<number, () => Promise<unknown>>) {
  let waits = 0;
  return {
    now: () => Date.now(),
    monotonic: () => waits * 1000,
    sleep: async () => {
      waits += 1;
      await steps[waits]?.();
    },
    waits: () => waits,
  };
}

test('a lock that was made a moment ago and is not signed yet is left, however long the wait before', async t => {
  const storeDirectory = await temporaryDirectory(t);
  const lock = join(storeDirectory, 'lock');
  const start = (await readFile('/proc/self/stat', 'utf8')).split(') ')[1]!.split(' ')[19]!;
  const alive = `${process.pid} ${start}\n`;
  await mkdir(lock);
  await writeFile(join(lock, 'pid'), alive);
  let survived: boolean | undefined;
  const clock = clockWith({
    8: async () => {
      await rm(lock, { recursive: true });
      await mkdir(lock);
    },
    10: async () => {
      survived = existsSync(lock);
      await writeFile(join(lock, 'pid'), alive);
    },
    12: () => rm(lock, { recursive: true }),
  });
  const held = await takeNodeLock({ storeDirectory, clock });
  assert.equal(survived, true);
  assert.equal(clock.waits(), 12);
  await held.release();
  assert.equal(existsSync(lock), false);
});

test('one that nobody signs is taken over after five seconds, one of a dead process at once', async t => {
  const storeDirectory = await temporaryDirectory(t);
  const lock = join(storeDirectory, 'lock');
  await mkdir(lock);
  const patient = clockWith({});
  await (await takeNodeLock({ storeDirectory, clock: patient })).release();
  assert.equal(patient.waits(), 7, 'more than five seconds after it was first seen');
  await mkdir(lock);
  await writeFile(join(lock, 'pid'), `${process.pid} 1\n`);
  const quick = clockWith({});
  await (await takeNodeLock({ storeDirectory, clock: quick })).release();
  assert.equal(quick.waits(), 1);
});

test('who lost the lock does not release that of another', async t => {
  const storeDirectory = await temporaryDirectory(t);
  const lock = join(storeDirectory, 'lock');
  const held = await takeNodeLock({ storeDirectory, clock: clockWith({}) });
  await writeFile(join(lock, 'pid'), '1 12345\n');
  await held.release();
  assert.equal(existsSync(lock), true);
});
