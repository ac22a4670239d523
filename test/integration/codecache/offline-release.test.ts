import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { pinOf } from '../../../codecache/pin.ts';
import { systemClock } from '../../../lib/clock.ts';
import { startFaultyFront } from '../../lab/faulty-front.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { flip, forgePointer, readTree, serveTree } from './forgery.ts';
import type { Tree } from './forgery.ts';
import { temporaryDirectory } from './web.ts';

const HOUR = 3600;
const DAY = 24 * HOUR;

let lab: ReleaseRepositoryLab;
let tree: Tree;
const home = await makeTemporaryDirectory('offline');
after(home.remove);
before(async () => {
  lab = await makeReleaseRepository({ directory: home.path });
  tree = await readTree(lab.publicDirectory);
});

const later = (seconds: number) => ({ ...systemClock, now: () => Date.now() + seconds * 1000 });

/** A node that has the release, in front of caches that are gone now. */
async function cutOff(t: TestContext, kept: Tree = tree) {
  const origin = await serveTree(t, () => kept);
  const front = await startFaultyFront({ upstream: origin.url });
  t.after(() => front.close());
  const options = {
    trustedRoot: lab.rootJson,
    storeDirectory: join(await temporaryDirectory(t), 'store'),
    caches: [front.url],
    queue: 'Q1',
    patienceSeconds: 0,
  };
  const fetched = await fetchRelease(options).catch(() => undefined);
  front.rules = [{ fault: { kind: 'hang-up' } }];
  return { options, fetched, front };
}

/** The timestamp is good for a day. */
const expired = later(DAY + HOUR);

test('without a policy nothing unchecked is started, with one what is kept is, and the result says so', async t => {
  const { options, fetched } = await cutOff(t);
  for (const clock of [later(HOUR), expired]) {
    await assert.rejects(fetchRelease({ ...options, clock }), { code: 'E_CACHE_UNREACHABLE' });
    const grace = { ...options, clock, offlineGraceSeconds: 2 * HOUR };
    const { offline, release, pilotDirectory, cache, refusals } = await fetchRelease(grace);
    assert.deepEqual(release, fetched!.release);
    assert.equal(pilotDirectory, fetched!.pilotDirectory);
    assert.deepEqual([cache, refusals], ['local', []]);
    const seconds = (clock.now() - Date.now()) / 1000;
    assert.ok(Math.abs(offline!.sinceSeconds - seconds) < 30, `${offline!.sinceSeconds} s`);
    assert.match(offline!.reason, /^E_CACHE_UNREACHABLE: /);
  }
});

test('a grace does not set the clock back behind what was signed', async t => {
  const { options } = await cutOff(t);
  const { offline } = await fetchRelease({ ...options, clock: later(HOUR), offlineGraceSeconds: 30 * DAY });
  assert.ok(offline);
});

test('what expired longer ago than the grace is not started, by whoever withholds the rest', async t => {
  const { options, front } = await cutOff(t);
  const grace = { ...options, clock: expired, offlineGraceSeconds: HOUR / 2 };
  await assert.rejects(fetchRelease(grace), { code: 'E_CACHE_UNREACHABLE' });
  front.rules = [];
  await assert.rejects(fetchRelease(grace), { code: 'E_TUF_EXPIRED' }, 'the expired timestamp, served again');
  assert.ok((await fetchRelease({ ...grace, offlineGraceSeconds: 2 * HOUR })).offline);
});

test('what the server knows wins over any grace', async t => {
  const { options, fetched } = await cutOff(t);
  const { root, timestamp, snapshot } = fetched!.release.metadata;
  const floors = {
    root: root!,
    timestamp: timestamp!,
    snapshot: snapshot!,
    channelSerials: { stable: 1 },
    signedTimeMs: Date.now(),
  };
  const grace = { ...options, clock: later(HOUR), offlineGraceSeconds: 7 * DAY };
  assert.ok((await fetchRelease({ ...grace, floors })).offline);
  for (const above of [
    { timestamp: timestamp! + 1 },
    { snapshot: snapshot! + 1 },
    { channelSerials: { stable: 2 } },
  ]) {
    await assert.rejects(fetchRelease({ ...grace, floors: { ...floors, ...above } }), {
      code: 'E_CACHE_UNREACHABLE',
    });
  }
});

test('a withdrawn release is not started offline, nor one that is damaged or not here whole', async t => {
  const yanked = await forgePointer(tree, lab, pointer => {
    pointer.serial += 1;
    pointer.yanked = ['1.0.0'];
  });
  const { options } = await cutOff(t);
  const origin = await serveTree(t, () => yanked);
  const grace = { ...options, offlineGraceSeconds: 7 * DAY };
  await assert.rejects(fetchRelease({ ...grace, caches: [origin.url], clock: later(60) }), {
    code: 'E_CHANNEL_YANKED',
  });
  await assert.rejects(fetchRelease({ ...grace, clock: later(HOUR) }), { code: 'E_CACHE_UNREACHABLE' });

  const damaged = await cutOff(t);
  const policy = { ...damaged.options, clock: later(HOUR), offlineGraceSeconds: 7 * DAY };
  assert.ok((await fetchRelease(policy)).offline);
  await writeFile(join(damaged.fetched!.pilotDirectory, 'pilot.mjs'), 'evil');
  await assert.rejects(fetchRelease(policy), { code: 'E_CACHE_UNREACHABLE' });
  await rm(damaged.fetched!.pilotDirectory, { recursive: true });
  await assert.rejects(fetchRelease(policy), { code: 'E_CACHE_UNREACHABLE' });
});

test('kept metadata that was damaged is none', async t => {
  const { options } = await cutOff(t);
  const grace = { ...options, clock: later(HOUR), offlineGraceSeconds: DAY };
  const file = join(options.storeDirectory, 'metadata', pinOf(lab.rootJson), 'timestamp.json');
  for (const text of ['', 'null', '{"signed":{"x-pilotage-signed-ms":"soon"', '<html>']) {
    await writeFile(file, text);
    await assert.rejects(fetchRelease(grace), { code: 'E_CACHE_UNREACHABLE' }, text);
  }
});

test('a forged answer is no better than none, and its cache is named all the same', async t => {
  const { options, front } = await cutOff(t);
  front.rules = [];
  front.upstream = (await serveTree(t, () => flip(tree, 'metadata/timestamp.json', 60))).url;
  const grace = { ...options, clock: later(HOUR), offlineGraceSeconds: DAY };
  const { offline, refusals } = await fetchRelease(grace);
  assert.match(offline!.reason, /^E_TUF_SIGNATURE: /);
  assert.deepEqual(
    refusals.map(({ cache }) => cache),
    [front.url],
  );
});

test('a clock that is behind is not helped by a grace', async t => {
  const { options } = await cutOff(t);
  const clock = later(-366 * DAY);
  await assert.rejects(fetchRelease({ ...options, clock, offlineGraceSeconds: 7 * DAY }), {
    code: 'E_CACHE_UNREACHABLE',
  });
});
