import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { pruneStore } from '../../../codecache/client/prune-store.ts';
import { storeContents } from '../../../codecache/client/store-contents.ts';
import { systemClock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { readTree, serveTree } from './forgery.ts';
import type { Tree } from './forgery.ts';
import { temporaryDirectory } from './web.ts';
import { runWrapper } from './wrapper-box.ts';

let lab: ReleaseRepositoryLab;
/** The public tree as it was after each release: 1.0.0, 1.1.0, 1.2.0. */
const trees: Tree[] = [];
const home = await makeTemporaryDirectory('node-store');
after(home.remove);
before(async () => {
  const large = () => ({ 'large.txt': randomBytes(30_000).toString('hex') });
  lab = await makeReleaseRepository({ directory: home.path, pilotFiles: large() });
  trees.push(await readTree(lab.publicDirectory));
  for (const version of ['1.1.0', '1.2.0']) {
    await lab.addPilot(version, large());
    await lab.promote({ version, channel: 'stable' });
    await lab.publish();
    trees.push(await readTree(lab.publicDirectory));
  }
});

const later = (seconds: number) => ({ ...systemClock, now: () => Date.now() + seconds * 1000 });
const HOUR = 3600;

/** A node that ran each release in turn, an hour and more apart. */
async function usedNode(t: TestContext, releases = 3) {
  const storeDirectory = join(await temporaryDirectory(t), 'store');
  let current = trees[0]!;
  const origin = await serveTree(t, () => current);
  const options = { trustedRoot: lab.rootJson, storeDirectory, caches: [origin.url], queue: 'Q1' };
  const fetched = [];
  for (let index = 0; index < releases; index += 1) {
    current = trees[index]!;
    fetched.push(await fetchRelease({ ...options, clock: later(31 * (index + 1)) }));
  }
  for (const [index, { pilotDirectory, runtimeDirectory }] of fetched.entries()) {
    const time = Date.now() / 1000 - (10 - index) * HOUR;
    await utimes(pilotDirectory, time, time);
    await utimes(runtimeDirectory, time, time);
  }
  return { options, fetched };
}

const prune = (directory: string, maxBytes: number) =>
  pruneStore({ directory, maxBytes, clock: systemClock, log: silentLog });

const unpacked = (directory: string) => readdir(join(directory, 'unpacked'));

test('over its quota a store loses what no channel names, and keeps current, previous and their runtime', async t => {
  const { options, fetched } = await usedNode(t);
  const [first, second, third] = fetched.map(({ release }) => release.sha256);
  const { storeDirectory } = options;
  assert.equal((await unpacked(storeDirectory)).length, 4);
  assert.deepEqual((await prune(storeDirectory, 2 ** 30)).removed, [], 'under the quota');
  const { removed, bytes } = await prune(storeDirectory, 1);
  const archives = removed.filter(({ kind }) => kind === 'release').map(({ path }) => path);
  assert.deepEqual(archives, [`unpacked/${first}`]);
  assert.ok(bytes > 1, 'the rest is in use, beyond the quota');
  const left = await unpacked(storeDirectory);
  assert.ok(left.includes(second!) && left.includes(third!) && left.length === 3);
  assert.equal((await fetchRelease({ ...options, clock: later(94) })).release.version, '1.2.0');
});

test('the one that was used longest ago goes first; what was used within the hour stays', async t => {
  const { options, fetched } = await usedNode(t);
  const { storeDirectory } = options;
  const [pin] = await readdir(join(storeDirectory, 'metadata'));
  // Nothing is named any more.
  await rm(join(storeDirectory, 'metadata', pin!), { recursive: true });
  const sizes = (await storeContents(storeDirectory, Date.now())).filter(({ kind }) => kind === 'release');
  assert.equal(sizes.length, 4);
  const total = (await prune(storeDirectory, 2 ** 30)).bytes;
  assert.deepEqual(
    (await prune(storeDirectory, total - 1)).removed.map(({ path }) => path),
    [`unpacked/${fetched[0]!.release.sha256}`],
  );
  const now = new Date();
  await utimes(fetched[1]!.pilotDirectory, now, now);
  await prune(storeDirectory, 1);
  assert.deepEqual(await unpacked(storeDirectory), [fetched[1]!.release.sha256]);
});

test('at the end of an install the quota is held', async t => {
  const { options, fetched } = await usedNode(t, 2);
  const origin = await serveTree(t, () => trees[2]!);
  const { release } = await fetchRelease({
    ...options,
    caches: [origin.url],
    clock: later(100),
    maxStoreBytes: 1,
  });
  assert.equal(release.version, '1.2.0');
  const left = await unpacked(options.storeDirectory);
  assert.ok(!left.includes(fetched[0]!.release.sha256));
  assert.ok(left.includes(fetched[1]!.release.sha256), 'the previous one');
});

test('what killed processes left goes after a day; what is being made stays', async t => {
  const { options } = await usedNode(t, 1);
  const { storeDirectory } = options;
  const dayAgo = Date.now() / 1000 - 25 * HOUR;
  const part = `${'a'.repeat(64)}.part`;
  for (const name of ['tmp.1.old', 'tmp.2.new', 'lock.old']) await mkdir(join(storeDirectory, name));
  await writeFile(join(storeDirectory, 'tmp.1.old', 'x'), 'half');
  await chmod(join(storeDirectory, 'tmp.1.old'), 0o500);
  for (const name of [part, `${'b'.repeat(64)}.part`])
    await writeFile(join(storeDirectory, 'objects', name), 'half');
  for (const name of ['tmp.1.old', 'lock.old', `objects/${part}`]) {
    await utimes(join(storeDirectory, name), dayAgo, dayAgo);
  }
  const { removed } = await prune(storeDirectory, 2 ** 30);
  assert.deepEqual(removed.map(({ path }) => path).sort(), ['lock.old', `objects/${part}`, 'tmp.1.old']);
  assert.deepEqual((await readdir(storeDirectory)).sort(), ['metadata', 'objects', 'tmp.2.new', 'unpacked']);
});

test('what a wrapper started from is kept too', async t => {
  const directory = await temporaryDirectory(t);
  const store = join(directory, 'store');
  const origin = await serveTree(t, () => trees[0]!);
  const run = await runWrapper({
    directory: join(directory, 'box'),
    store,
    rootJson: lab.rootJson,
    caches: [origin.url],
  });
  assert.equal(run.exit, 0, run.stderr);
  const made = await unpacked(store);
  assert.equal(made.length, 2);
  const longAgo = Date.now() / 1000 - 10 * HOUR;
  for (const name of made) await utimes(join(store, 'unpacked', name), longAgo, longAgo);
  // Only the wrapper's own note names them.
  await rm(join(store, 'objects'), { recursive: true });
  await prune(store, 1);
  assert.deepEqual(await unpacked(store), made);
});
