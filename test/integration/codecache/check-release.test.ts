import assert from 'node:assert/strict';
import { readdir, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { checkRelease } from '../../../codecache/client/check-release.ts';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { PathHealth } from '../../../codecache/client/path-health.ts';
import { systemClock } from '../../../lib/clock.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { flip, forgePointer, readTree, serveTree } from './forgery.ts';
import type { Signed, Tree } from './forgery.ts';
import { temporaryDirectory } from './web.ts';

let lab: ReleaseRepositoryLab;
let tree: Tree;
const home = await makeTemporaryDirectory('check-release');
after(home.remove);
before(async () => {
  lab = await makeReleaseRepository({ directory: home.path });
  tree = await readTree(lab.publicDirectory);
});

/** The system's clock, so many seconds later: what a node checked just now is long ago for it. */
const later = (seconds: number) => ({ ...systemClock, now: () => Date.now() + seconds * 1000 });

async function node(t: TestContext, caches: string[]) {
  const storeDirectory = join(await temporaryDirectory(t), 'store');
  return { trustedRoot: lab.rootJson, storeDirectory, caches, queue: 'Q1', health: new PathHealth() };
}

const movedOn = (edit: (pointer: Signed) => void): Promise<Tree> =>
  forgePointer(tree, lab, pointer => {
    pointer.serial += 1;
    edit(pointer);
  });

test('a running pilot learns what its channel names now and whether its own release was withdrawn', async t => {
  let current = tree;
  const origin = await serveTree(t, () => current);
  const options = await node(t, [origin.url]);
  const first = await checkRelease({ ...options, mine: '1.0.0' });
  assert.equal(first.version, '1.0.0');
  assert.equal(first.mineYanked, false);
  assert.equal(first.cache, origin.url);
  assert.equal((await readdir(join(options.storeDirectory, 'unpacked'))).length, 0, 'metadata only');
  current = await movedOn(pointer => {
    pointer.yanked = ['0.9.0', '0.9.1'];
    pointer.kill = ['0.9.1'];
    pointer.min_version = '1.0.0';
  });
  const kept = await checkRelease({ ...options, mine: '0.9.0' });
  assert.deepEqual([kept.cache, kept.mineYanked], ['local', false], 'it was asked a moment ago');
  const clock = later(31);
  const now = await checkRelease({ ...options, clock, mine: '0.9.0' });
  assert.equal(now.channelSerial, first.channelSerial + 1);
  assert.deepEqual([now.mineYanked, now.mineKilled], [true, false]);
  const judge = async (mine: string) => {
    const { mineYanked, mineKilled } = await checkRelease({ ...options, clock, mine });
    return [mineYanked, mineKilled];
  };
  assert.deepEqual(await judge('0.9.1'), [true, true]);
  assert.deepEqual(await judge('0.8.0'), [true, false], 'below the least version');
  assert.deepEqual(await judge('1.0.0'), [false, false]);
  assert.deepEqual(await judge('1.7.0'), [false, false], 'not current, and not withdrawn');
});

test('that its own current release was withdrawn is an answer, not an error', async t => {
  const origin = await serveTree(t, () => withdrawn);
  const withdrawn = await movedOn(pointer => {
    pointer.yanked = ['1.0.0'];
    pointer.kill = ['1.0.0'];
  });
  const { version, sha256, mineYanked, mineKilled, refusals } = await checkRelease({
    ...(await node(t, [origin.url])),
    mine: '1.0.0',
  });
  assert.deepEqual([version, sha256, mineYanked, mineKilled], [null, null, true, true]);
  assert.deepEqual(refusals, []);
});

test('what the server knows is asked for past the memory of the node; a cache that withholds it is named', async t => {
  let current = tree;
  const origin = await serveTree(t, () => current);
  const withholding = await serveTree(t, () => tree);
  const options = await node(t, [withholding.url]);
  await checkRelease(options);
  current = await movedOn(pointer => (pointer.yanked = ['1.0.0']));
  const floors = {
    root: 1,
    timestamp: 1,
    snapshot: 1,
    signedTimeMs: 0,
    channelSerials: { stable: 2 },
  };
  const elsewhere = await node(t, [withholding.url]);
  await checkRelease(elsewhere);
  const honest = await checkRelease({ ...elsewhere, caches: [origin.url], floors, mine: '1.0.0' });
  assert.deepEqual([honest.mineYanked, honest.cache], [true, origin.url]);
  assert.deepEqual(honest.refusals, [], 'what the node kept is not the fault of the cache');
  const { mineYanked, refusals } = await checkRelease({
    ...options,
    caches: [withholding.url, origin.url],
    floors,
    mine: '1.0.0',
  });
  assert.equal(mineYanked, true);
  assert.deepEqual(
    refusals.map(({ cache, code }) => ({ cache, code })),
    [{ cache: withholding.url, code: 'E_CHANNEL_FLOOR' }],
  );
});

test('a forged answer changes nothing and is named; what a pilot runs from is marked as used', async t => {
  const liar = await serveTree(t, () => flip(tree, 'metadata/timestamp.json', 40));
  const honest = await serveTree(t, () => tree);
  const options = await node(t, [honest.url]);
  const { release, pilotDirectory } = await fetchRelease(options);
  await utimes(pilotDirectory, 0, 0);
  const { refusals, cache } = await checkRelease({
    ...options,
    caches: [liar.url, honest.url],
    clock: later(31),
    using: [release.sha256],
  });
  assert.equal(cache, honest.url);
  assert.equal(refusals[0]!.cache, liar.url);
  assert.equal(refusals[0]!.where, `${liar.url}/metadata/timestamp.json`);
  assert.ok((await stat(pilotDirectory)).mtimeMs > Date.now() - 60_000);
});
