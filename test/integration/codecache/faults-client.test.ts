import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { defaultTimeouts } from '../../../codecache/client/download.ts';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { PathHealth } from '../../../codecache/client/path-health.ts';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { systemClock } from '../../../lib/clock.ts';
import { formatError } from '../../../lib/errors.ts';
import type { PilotageError } from '../../../lib/errors.ts';
import { silentLog } from '../../../lib/log.ts';
import { startFaultyFront } from '../../lab/faulty-front.ts';
import type { Fault, FaultRule, FaultyFront } from '../../lab/faulty-front.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { readTree, serveTree } from './forgery.ts';
import { temporaryDirectory } from './web.ts';

const PILOT = /pilot-1\.0\.0/;
const TIMESTAMP = /timestamp/;
const SNAPSHOT = /snapshot/;
const timeouts = { ...defaultTimeouts, connectSeconds: 2, stallSeconds: 0.4 };

let lab: ReleaseRepositoryLab;
let store: { url: string; close(graceMs?: number): Promise<void> };
let pilotBytes: number;
const home = await makeTemporaryDirectory('faults');
after(home.remove);
before(async () => {
  const pilotFiles = { 'large.txt': randomBytes(24_000).toString('base64') };
  lab = await makeReleaseRepository({ directory: home.path, pilotFiles });
  store = await serveStore({ directory: lab.publicDirectory, listen: '127.0.0.1:0', log: silentLog });
  const tree = await readTree(lab.publicDirectory);
  pilotBytes = [...tree].find(([path]) => PILOT.test(path))![1].length;
});
after(() => store.close(0));

async function front(t: TestContext, rules: FaultRule[] = []): Promise<FaultyFront> {
  const made = await startFaultyFront({ upstream: store.url, rules });
  t.after(() => made.close());
  return made;
}

async function node(t: TestContext, caches: string[]) {
  const storeDirectory = join(await temporaryDirectory(t), 'store');
  return { trustedRoot: lab.rootJson, storeDirectory, caches, queue: 'Q1', timeouts, patienceSeconds: 0 };
}

/** A clock whose waits are over at once, though they count. */
function hurriedClock() {
  let skippedMs = 0;
  return {
    now: () => Date.now(),
    monotonic: () => performance.now() + skippedMs,
    sleep: (milliseconds: number) => {
      skippedMs += milliseconds;
      return Promise.resolve();
    },
    skippedSeconds: () => skippedMs / 1000,
  };
}

interface Case {
  fault: Fault;
  at: RegExp;
  /** Code under which the cache is named; null: it is left without blame. */
  refusal: string | null;
}

const each = (at: RegExp, faults: [Fault, string | null][]): Case[] =>
  faults.map(([fault, refusal]) => ({ fault, at, refusal }));

const unreachable: [Fault, null][] = [
  [{ kind: 'hang-up' }, null],
  [{ kind: 'stall', afterBytes: 60 }, null],
  [{ kind: 'truncate', afterBytes: 0 }, null],
  [{ kind: 'status', status: 500 }, null],
  [{ kind: 'status', status: 503, retryAfterSeconds: 2 }, null],
  [{ kind: 'status', status: 429, retryAfterSeconds: 2 }, null],
  [{ kind: 'status', status: 302 }, null],
];

const cases: Case[] = [
  ...each(PILOT, [
    ...unreachable,
    [{ kind: 'oversize', byBytes: 7 }, 'E_TARGET_LENGTH'],
    [{ kind: 'flip', at: 5000 }, 'E_TARGET_HASH'],
    [{ kind: 'other-object', path: 'metadata/1.root.json' }, 'E_TARGET_LENGTH'],
    [{ kind: 'garbage' }, 'E_TARGET_LENGTH'],
    [{ kind: 'gzip' }, 'E_CACHE_ENCODING'],
  ]),
  ...each(TIMESTAMP, [
    ...unreachable,
    [{ kind: 'truncate', afterBytes: 100 }, null],
    [{ kind: 'oversize', byBytes: 70_000 }, 'E_TUF_FORMAT'],
    [{ kind: 'flip', at: 60 }, 'E_TUF_SIGNATURE'],
    [{ kind: 'other-object', path: 'metadata/1.root.json' }, 'E_TUF_FORMAT'],
    [{ kind: 'garbage' }, 'E_TUF_FORMAT'],
    [{ kind: 'gzip' }, 'E_CACHE_ENCODING'],
  ]),
  ...each(SNAPSHOT, [
    [{ kind: 'truncate', afterBytes: 100 }, null],
    [{ kind: 'oversize', byBytes: 7 }, 'E_TUF_HASH'],
    [{ kind: 'flip', at: 60 }, 'E_TUF_HASH'],
    [{ kind: 'other-object', path: 'metadata/1.targets.json' }, 'E_TUF_HASH'],
    [{ kind: 'garbage' }, 'E_TUF_HASH'],
  ]),
];

for (const { fault, at, refusal } of cases) {
  const named = refusal === null ? 'is left' : `is named with ${refusal}`;
  test(`a cache with ${JSON.stringify(fault)} at ${at.source} ${named}, and the next serves`, async t => {
    const bad = await front(t, [{ path: at, fault }]);
    const good = await front(t);
    const options = await node(t, [bad.url, good.url]);
    const { cache, refusals, release } = await fetchRelease(options);
    assert.equal(release.version, '1.0.0');
    assert.equal(cache, good.url);
    assert.deepEqual(
      refusals.map(({ cache, code }) => ({ cache, code })),
      refusal === null ? [] : [{ cache: bad.url, code: refusal }],
    );
    for (const { where } of refusals) assert.match(where, at);
    const asked = bad.requests.filter(({ path }) => at.test(path));
    if (refusal === null)
      assert.ok(asked.length <= 3 && asked.every(({ noCache }) => !noCache), 'left at once');
    else
      assert.deepEqual(
        asked.map(({ noCache }) => noCache),
        [false, true],
        'asked once more past the cache',
      );
    assert.deepEqual((await readdir(options.storeDirectory)).sort(), ['metadata', 'objects', 'unpacked']);
    assert.ok(
      (await readdir(join(options.storeDirectory, 'objects'))).every(name => !name.endsWith('.part')),
    );
  });
}

for (const fault of [
  { kind: 'close' },
  { kind: 'http-1.0' },
  { kind: 'trickle', bytesPerSecond: 10_000 },
  { kind: 'truncate', afterBytes: 9000 },
] satisfies Fault[]) {
  test(`a cache with ${JSON.stringify(fault)} serves alone`, async t => {
    const only = await front(t, [{ fault }]);
    const options = await node(t, [only.url]);
    const { cache, refusals } = await fetchRelease(options);
    assert.equal(cache, only.url);
    assert.deepEqual(refusals, []);
    const asked = only.requests.filter(({ path }) => PILOT.test(path));
    assert.equal(asked.length, fault.kind === 'truncate' ? Math.ceil(pilotBytes / 9000) : 1);
    const sent = asked.reduce((sum, request) => sum + request.sent, 0);
    assert.equal(sent, pilotBytes, 'no byte twice');
  });
}

for (const fault of [{ kind: 'flip', at: 40 }, { kind: 'garbage' }, { kind: 'gzip' }] satisfies Fault[]) {
  test(`what lies broken (${fault.kind}) in a cache is got past by no-cache, and is told of`, async t => {
    const only = await front(t, [{ path: PILOT, cached: true, fault }]);
    const { cache, refusals } = await fetchRelease(await node(t, [only.url]));
    assert.equal(cache, only.url);
    assert.deepEqual(
      refusals.map(({ cache }) => cache),
      [only.url],
    );
  });
}

test('when every cache lies, the error names each of them and what it lied about', async t => {
  const one = await front(t, [{ path: PILOT, fault: { kind: 'flip', at: 9 } }]);
  const two = await front(t, [{ path: PILOT, fault: { kind: 'garbage' } }]);
  const options = { ...(await node(t, [one.url, two.url])), patienceSeconds: 30 };
  const error = await fetchRelease(options).then(
    () => assert.fail('it was accepted'),
    (error: PilotageError) => error,
  );
  assert.equal(error.code, 'E_TARGET_LENGTH', 'the last');
  assert.deepEqual(
    error.refusals?.map(({ cache, code }) => ({ cache, code })),
    [
      { cache: one.url, code: 'E_TARGET_HASH' },
      { cache: two.url, code: 'E_TARGET_LENGTH' },
    ],
  );
  assert.match(
    formatError(error),
    new RegExp(`refused: ${one.url} \\(E_TARGET_HASH ${one.url}/targets/pilot/`),
  );
  assert.deepEqual(await readdir(join(options.storeDirectory, 'unpacked')), []);
  assert.ok((await readdir(join(options.storeDirectory, 'objects'))).every(name => !name.endsWith('.part')));
});

test('a download that stalls goes on through the next cache, from where it was', async t => {
  const bad = await front(t, [{ path: PILOT, fault: { kind: 'stall', afterBytes: 20_000 } }]);
  const good = await front(t);
  assert.equal((await fetchRelease(await node(t, [bad.url, good.url]))).cache, good.url);
  const [request] = good.requests.filter(({ path }) => PILOT.test(path));
  assert.equal(request!.range, 'bytes=20000-');
  assert.equal(request!.sent, pilotBytes - 20_000);
});

test('of two archives the one that came well is not fetched again when the other was refused', async t => {
  const liar = await front(t, [{ path: /node-/, fault: { kind: 'flip', at: 9 } }]);
  const good = await front(t);
  assert.equal((await fetchRelease(await node(t, [liar.url, good.url]))).cache, good.url);
  assert.deepEqual([liar.count(PILOT), good.count(PILOT)], [1, 0]);
  assert.deepEqual([liar.count(/node-/), good.count(/node-/)], [2, 1]);
});

test('a false beginning is thrown away before the cache that sent the rest is blamed', async t => {
  const liar = await front(t, [
    { path: PILOT, times: 1, fault: { kind: 'flip', at: 10 } },
    { path: PILOT, fault: { kind: 'hang-up' } },
  ]);
  const cut = await front(t, [{ path: PILOT, fault: { kind: 'stall', afterBytes: 5000 } }]);
  cut.upstream = liar.url;
  const good = await front(t);
  const { cache, refusals } = await fetchRelease(await node(t, [cut.url, good.url]));
  assert.equal(cache, good.url);
  assert.deepEqual(refusals, []);
  assert.deepEqual(
    good.requests.filter(({ path }) => PILOT.test(path)).map(({ range }) => range),
    ['bytes=5000-', undefined],
  );
});

test('an overloaded cache is left for as long as it asks, and asked again when there is no other', async t => {
  const busy = { kind: 'status', status: 429, retryAfterSeconds: 12 } as const;
  const first = await front(t, [{ path: TIMESTAMP, times: 1, fault: busy }]);
  const second = await front(t);
  const clock = hurriedClock();
  const health = new PathHealth({ clock });
  const alone = { ...(await node(t, [first.url])), clock, health, patienceSeconds: 20 };
  assert.equal((await fetchRelease(alone)).cache, first.url);
  assert.ok(clock.skippedSeconds() > 11.9, `waited ${clock.skippedSeconds()} s`);
  first.rules = [{ path: TIMESTAMP, times: 1, fault: busy }];
  assert.equal(
    (await fetchRelease({ ...(await node(t, [first.url, second.url])), clock, health })).cache,
    second.url,
  );
  const asked = first.requests.length;
  assert.equal(
    (await fetchRelease({ ...(await node(t, [first.url, second.url])), clock, health })).cache,
    second.url,
  );
  assert.equal(first.requests.length, asked, 'it is left alone');
  first.rules = [{ path: TIMESTAMP, fault: { ...busy, retryAfterSeconds: 100 } }];
  await assert.rejects(fetchRelease({ ...(await node(t, [first.url])), clock, patienceSeconds: 20 }), {
    code: 'E_CACHE_UNREACHABLE',
    retryAfterSeconds: 100,
  });
});

test('when all fail at once they are asked again, for as long as patience lasts', async t => {
  const caches = [await front(t), await front(t)];
  const down = (times: number) =>
    caches.map(cache => (cache.rules = [{ times, fault: { kind: 'hang-up' } }]));
  const clock = hurriedClock();
  const options = { clock, patienceSeconds: 30 };
  // Three at a time: a connection that is closed without an answer is tried three times at once.
  down(6);
  await fetchRelease({
    ...(await node(
      t,
      caches.map(({ url }) => url),
    )),
    ...options,
  });
  assert.ok(clock.skippedSeconds() > 2 && clock.skippedSeconds() < 30, `${clock.skippedSeconds()} s`);
  down(1000);
  const group = caches.map(({ url }) => url).join('|');
  await assert.rejects(fetchRelease({ ...(await node(t, [group])), ...options }), {
    code: 'E_CACHE_UNREACHABLE',
  });
  assert.ok(clock.skippedSeconds() < 60, `${clock.skippedSeconds()} s`);
});

test('a stale path is asked past its cache and then left for a fresh one; alone it fails', async t => {
  const old = await readTree(lab.publicDirectory);
  await lab.refresh();
  const fresh = await front(t);
  const stale = await front(t);
  stale.upstream = (await serveTree(t, () => old)).url;
  const options = await node(t, [fresh.url]);
  const before = await fetchRelease(options);
  const clock = { ...systemClock, now: () => Date.now() + 31_000 };
  const { release, cache, refusals } = await fetchRelease({
    ...options,
    clock,
    caches: [stale.url, fresh.url],
  });
  assert.equal(cache, fresh.url);
  assert.deepEqual(release.metadata, before.release.metadata);
  assert.deepEqual(
    refusals.map(({ cache, code }) => [cache, code]),
    [[stale.url, 'E_TUF_STALE']],
  );
  assert.deepEqual(
    stale.requests.filter(({ path }) => TIMESTAMP.test(path)).map(({ noCache }) => noCache),
    [false, true],
  );
  const muchLater = { ...systemClock, now: () => Date.now() + 62_000 };
  await assert.rejects(fetchRelease({ ...options, clock: muchLater, caches: [stale.url] }), {
    code: 'E_TUF_STALE',
  });
});

test('a clock that is a year ahead finds all expired, one that is a year behind is refused', async t => {
  const only = await front(t);
  for (const [years, code] of [
    [1, 'E_TUF_EXPIRED'],
    [-1, 'E_CLOCK'],
  ] as const) {
    const clock = { ...systemClock, now: () => Date.now() + years * 366 * 86_400_000 };
    const options = await node(t, [only.url]);
    await assert.rejects(fetchRelease({ ...options, clock }), { code });
    assert.deepEqual(await readdir(join(options.storeDirectory, 'unpacked')), []);
  }
});
