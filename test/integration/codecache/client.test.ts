import assert from 'node:assert/strict';
import { chmod, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { defaultTimeouts } from '../../../codecache/client/download.ts';
import { checkRelease } from '../../../codecache/client/check-release.ts';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { withNodeLock } from '../../../codecache/client/node-lock.ts';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { serveCache } from '../../../codecache/proxy/serve-cache.ts';
import { systemClock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { flip, forgePointer, newest, readTree, recovered, serveTree } from './forgery.ts';
import type { Tree } from './forgery.ts';
import { temporaryDirectory, upstream, waitUntil } from './web.ts';
import { runWrapper } from './wrapper-box.ts';

let lab: ReleaseRepositoryLab;
let tree: Tree;
const home = await makeTemporaryDirectory('client');
after(home.remove);
before(async () => {
  lab = await makeReleaseRepository({ directory: home.path });
  tree = await readTree(lab.publicDirectory);
});

const pathOf = (pattern: RegExp) => [...tree.keys()].find(path => pattern.test(path))!;

/** The system's clock, so many seconds later: what a node checked just now is long ago for it. */
const later = (seconds: number) => ({ ...systemClock, now: () => Date.now() + seconds * 1000 });

async function node(t: TestContext, caches: string[]) {
  const storeDirectory = join(await temporaryDirectory(t), 'store');
  return { trustedRoot: lab.rootJson, storeDirectory, caches, queue: 'Q1' };
}

test('a second use asks nothing, later two things; it hashes what is there, and downloads nothing', async t => {
  const origin = await serveTree(t, () => tree);
  const options = await node(t, [origin.url]);
  const first = await fetchRelease(options);
  assert.equal(
    await readFile(join(first.pilotDirectory, 'pilot.mjs'), 'utf8').then(text => text.length > 0),
    true,
  );
  assert.equal(first.release.metadata.stable, newest(tree, 'stable').version);
  origin.counts.clear();
  assert.deepEqual(await fetchRelease(options), { ...first, cache: 'local' });
  assert.deepEqual([...origin.counts.keys()], []);
  assert.deepEqual(await fetchRelease({ ...options, clock: later(31) }), first);
  const questions = ['metadata/2.root.json', 'metadata/timestamp.json'];
  assert.deepEqual([...origin.counts.keys()].sort(), questions);
  origin.counts.clear();
  await fetchRelease(options);
  assert.deepEqual([...origin.counts.keys()].sort(), questions, 'a clock that went back says nothing');
  await writeFile(join(first.pilotDirectory, 'pilot.mjs'), 'evil');
  await writeFile(join(first.runtimeDirectory, 'bin/more'), 'evil');
  await fetchRelease(options);
  assert.notEqual(await readFile(join(first.pilotDirectory, 'pilot.mjs'), 'utf8'), 'evil');
  assert.deepEqual(await readdir(join(first.runtimeDirectory, 'bin')), ['node']);
});

test('past a dead and a lying cache the next one serves; a damaged copy is got past with no-cache', async t => {
  const dead = await serveTree(t, () => tree);
  await dead.close();
  const liar = await serveTree(t, () => flip(tree, pathOf(/node-/), 9));
  const honest = await serveTree(t, () => tree);
  const options = await node(t, [dead.url, liar.url, honest.url]);
  assert.equal((await fetchRelease(options)).cache, honest.url);
  assert.equal(liar.count(pathOf(/node-/)), 2);
  const path = pathOf(/pilot-1/);
  const damaged = flip(tree, path, 5);
  const caching = await upstream(t, (request, response) => {
    const from = request.headers['cache-control'] === 'no-cache' ? tree : damaged;
    const body = from.get((request.url ?? '').slice(1));
    response.writeHead(body === undefined ? 404 : 200).end(body);
  });
  assert.equal((await fetchRelease(await node(t, [caching.url]))).cache, caching.url);
  assert.equal(caching.count(path), 2);
});

test('a stall is a failure, slowness is not', async t => {
  const body = tree.get(pathOf(/pilot-1/))!;
  const behave = (mode: 'stall' | 'slow') =>
    upstream(t, (request, response) => {
      const found = tree.get((request.url ?? '').slice(1));
      if (found !== body) return void response.writeHead(found === undefined ? 404 : 200).end(found);
      response.writeHead(200, { 'content-length': body.length });
      let sent = 0;
      const timer = setInterval(() => {
        if (mode === 'stall' && sent > 100) return;
        response.write(body.subarray(sent, sent + 20));
        sent += 20;
        if (sent >= body.length) {
          clearInterval(timer);
          response.end();
        }
      }, 60);
      response.on('close', () => clearInterval(timer));
      return undefined;
    });
  const timeouts = { ...defaultTimeouts, connectSeconds: 2, stallSeconds: 0.6 };
  const slow = await behave('slow');
  assert.equal((await fetchRelease({ ...(await node(t, [slow.url])), timeouts })).cache, slow.url);
  const stall = await behave('stall');
  const good = await serveTree(t, () => tree);
  assert.equal((await fetchRelease({ ...(await node(t, [stall.url, good.url])), timeouts })).cache, good.url);
});

test('a cache that sends a byte now and then holds nobody for long', async t => {
  const drip = await upstream(t, (_request, response) => {
    response.writeHead(200, { 'content-length': 60_000 });
    const timer = setInterval(() => response.write(' '), 50);
    response.on('close', () => clearInterval(timer));
  });
  const good = await serveTree(t, () => tree);
  const timeouts = { ...defaultTimeouts, graceSeconds: 0.5, leastBytesPerSecond: 1e7 };
  const started = Date.now();
  assert.equal((await fetchRelease({ ...(await node(t, [drip.url, good.url])), timeouts })).cache, good.url);
  assert.ok(Date.now() - started < 10_000);
});

test('clients and wrappers on one node download once, and understand one store', async t => {
  const origin = await serveTree(t, () => tree);
  const options = await node(t, [origin.url]);
  const clients = Array.from({ length: 8 }, () => fetchRelease(options));
  await Promise.race(clients);
  const wrappers = Array.from({ length: 4 }, (_, index) =>
    runWrapper({
      directory: join(options.storeDirectory, '..', `box-${index}`),
      store: options.storeDirectory,
      rootJson: lab.rootJson,
      caches: [origin.url],
    }),
  );
  await Promise.all(clients);
  for (const run of await Promise.all(wrappers)) assert.equal(run.exit, 0, run.stderr);
  for (const pattern of [/pilot-1/, /node-/]) assert.equal(origin.count(pathOf(pattern)), 1, String(pattern));
  await fetchRelease(options);
  assert.deepEqual((await readdir(options.storeDirectory)).sort(), ['metadata', 'objects', 'unpacked']);
});

test('before not_before the previous release is the one', async t => {
  const notBefore = Math.floor(Date.now() / 1000) + 3600;
  const early = await forgePointer(tree, lab, pointer => {
    pointer.previous = { ...pointer.current };
    pointer.current = { ...pointer.current, version: '1.1.0' };
    pointer.not_before = notBefore;
  });
  const origin = await serveTree(t, () => early);
  const options = await node(t, [origin.url]);
  assert.equal((await checkRelease(options)).version, '1.0.0');
  const clock = { ...systemClock, now: () => (notBefore + 1) * 1000 };
  assert.equal((await checkRelease({ ...options, clock })).version, '1.1.0');
  const run = await runWrapper({
    directory: join(options.storeDirectory, '../box'),
    store: options.storeDirectory,
    rootJson: lab.rootJson,
    caches: [origin.url],
  });
  assert.match(run.stderr, /verified release 1\.0\.0/);
});

test('through a caching proxy: a forging origin is refused, the honest bytes come once it is gone', async t => {
  const path = pathOf(/pilot-1/);
  const liar = await serveTree(t, () => flip(tree, path, 3));
  const store = await serveStore({ directory: lab.publicDirectory, listen: '127.0.0.1:0', log: silentLog });
  t.after(() => store.close(0));
  const timeouts = { connectSeconds: 2, headerSeconds: 5, stallSeconds: 5, totalSeconds: 60 };
  const bounds = { maxStoreBytes: 2 ** 30, maxObjectBytes: 2 ** 30, maxMetadataBytes: 2 ** 20, timeouts };
  const cacheOf = async (upstreams: string[]) => {
    const directory = await temporaryDirectory(t);
    const cache = await serveCache({
      upstreams,
      directory,
      listen: '127.0.0.1:0',
      log: silentLog,
      ...bounds,
    });
    t.after(() => cache.close(0));
    return cache;
  };
  const alone = await cacheOf([liar.url]);
  await assert.rejects(fetchRelease({ ...(await node(t, [alone.url])), patienceSeconds: 0 }), {
    code: 'E_CACHE_UNREACHABLE',
  });
  assert.ok(alone.stats().upstreams[0]!.blamed > 0);
  const both = await cacheOf([liar.url, store.url]);
  assert.equal((await fetchRelease(await node(t, [both.url]))).cache, both.url);
  assert.equal(both.stats().upstreams[0]!.lastBlame!.object, path);
  await fetchRelease(await node(t, [both.url]));
  assert.ok(both.stats().hits > 0);
});

test('an abort ends the download with its own reason', async t => {
  const origin = await upstream(t, (request, response) => {
    if (request.url!.includes('root')) response.writeHead(404).end();
  });
  const abort = new AbortController();
  const running = fetchRelease({ ...(await node(t, [origin.url])), signal: abort.signal });
  await waitUntil(() => origin.count('metadata/timestamp.json') === 1, 'the timestamp was asked for');
  abort.abort(new Error('the pilot is told to stop'));
  await assert.rejects(running, /told to stop/);
});

test('a store open to others, and no cache at all, are refused by name', async t => {
  const options = await node(t, []);
  await assert.rejects(fetchRelease(options), { code: 'E_USAGE' });
  await chmod(options.storeDirectory, 0o755);
  await assert.rejects(fetchRelease(options), { code: 'E_STORE_UNSAFE', where: options.storeDirectory });
});

test('a damaged trusted root is replaced by the pinned one', async t => {
  const origin = await serveTree(t, () => tree);
  const options = await node(t, [origin.url]);
  await fetchRelease(options);
  const [pin] = await readdir(join(options.storeDirectory, 'metadata'));
  await writeFile(join(options.storeDirectory, 'metadata', pin!, 'root.json'), '{"half');
  assert.equal((await fetchRelease(options)).release.version, '1.0.0');
  const flipped = lab.rootJson.toString().replace('MFkw', 'MFkx');
  await writeFile(join(options.storeDirectory, 'metadata', pin!, 'root.json'), flipped);
  assert.equal((await fetchRelease(options)).release.version, '1.0.0', 'one flipped bit');
});

test('a snapshot fast-forwarded by a stolen key is forgotten when the root names another key', async t => {
  const { stolen, healed } = await recovered(tree, lab);
  let current = stolen;
  const origin = await serveTree(t, () => current);
  const options = await node(t, [origin.url]);
  assert.equal((await fetchRelease(options)).release.metadata.snapshot, 1_000_000);
  current = tree;
  await assert.rejects(fetchRelease({ ...options, clock: later(31) }), { code: 'E_TUF_STALE' });
  current = healed;
  const { metadata } = (await fetchRelease({ ...options, clock: later(31) })).release;
  assert.equal(metadata.root, 2);
  assert.equal(metadata.snapshot, newest(healed, 'snapshot').version);
  assert.equal((await fetchRelease(options)).release.metadata.snapshot, metadata.snapshot);
});

test('floors that a stolen key drove up hold under the root of that key, and under no newer one', async t => {
  const { stolen, healed } = await recovered(tree, lab);
  let current = stolen;
  const origin = await serveTree(t, () => current);
  const { metadata } = (await fetchRelease(await node(t, [origin.url]))).release;
  const channelSerials = { stable: 1 };
  const floors = {
    root: metadata.root!,
    timestamp: 1_000_000,
    snapshot: metadata.snapshot!,
    channelSerials,
    signedTimeMs: 0,
  };
  const fresh = await node(t, [origin.url]);
  const fetch = (changes = {}) =>
    fetchRelease({ ...fresh, patienceSeconds: 0, floors: { ...floors, ...changes } });
  current = tree;
  await assert.rejects(fetch(), { code: 'E_TUF_STALE' }, 'a cache cannot lower them');
  current = new Map(tree).set('metadata/2.root.json', tree.get('metadata/1.root.json')!);
  await assert.rejects(fetch(), { code: 'E_TUF_ROLLBACK' }, 'nor by a root that is none');
  current = healed;
  assert.equal((await fetch()).release.metadata.root, 2);
  assert.equal((await fetch()).cache, 'local');
  await assert.rejects(fetch({ root: 2 }), { code: 'E_TUF_STALE' });
  await assert.rejects(fetch({ root: 2, timestamp: 0 }), { code: 'E_TUF_STALE' });
  await assert.rejects(fetch({ root: 3 }), { code: 'E_TUF_STALE' });
  await assert.rejects(fetch({ channelSerials: { stable: 2 } }), { code: 'E_CHANNEL_FLOOR' });
});

test('a lock that cannot be signed is not left behind', async t => {
  // Not writable like a full disk, for anybody: the path of the file in the lock is longer than a path may be.
  let storeDirectory = await temporaryDirectory(t);
  while (storeDirectory.length < 4088) {
    storeDirectory = join(storeDirectory, 'x'.repeat(Math.min(200, 4088 - storeDirectory.length)));
  }
  await mkdir(storeDirectory.slice(0, 4088), { recursive: true });
  const options = { storeDirectory: storeDirectory.slice(0, 4088), clock: systemClock, waitSeconds: 1 };
  await assert.rejects(
    withNodeLock(options, () => Promise.resolve()),
    { code: /^E_/ },
  );
  assert.deepEqual(await readdir(options.storeDirectory), []);
});

test('one at a time holds the node lock; a dead holder does not block', async t => {
  const storeDirectory = await temporaryDirectory(t);
  let inside = 0;
  const work = async () => {
    inside += 1;
    assert.equal(inside, 1);
    await new Promise(resolve => setImmediate(resolve));
    inside -= 1;
  };
  const options = { storeDirectory, clock: systemClock, waitSeconds: 20 };
  await Promise.all(Array.from({ length: 5 }, () => withNodeLock(options, work)));
  await mkdir(join(storeDirectory, 'lock'));
  await writeFile(join(storeDirectory, 'lock/pid'), `${process.pid} 1\n`);
  await withNodeLock(options, work);
  const release = Promise.withResolvers<void>();
  const held = withNodeLock(options, () => release.promise);
  await assert.rejects(withNodeLock({ ...options, waitSeconds: 0.2 }, work), { code: 'E_STORE_LOCKED' });
  release.resolve();
  await held;
});
