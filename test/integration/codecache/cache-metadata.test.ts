import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { objectName, publicPath } from '../../../codecache/http/object-name.ts';
import { cacheControl } from '../../../codecache/origin/cache-control.ts';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { purgeAnswers } from '../../../codecache/proxy/metadata/answer-store.ts';
import type { CacheOptions } from '../../../codecache/proxy/serve-cache.ts';
import { systemClock } from '../../../lib/clock.ts';
import type { Clock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { forge, newest, readTree, sha256Of } from './forgery.ts';
import type { Tree } from './forgery.ts';
import { startHereCache } from './here-cache.ts';
import { get, metadata, temporaryDirectory, upstream, waitUntil } from './web.ts';

let lab: ReleaseRepositoryLab;
/** As published, and with newer versions signed by the right keys. */
let tree: Tree;
let newer: Tree;
let newest3: Tree;
const home = await makeTemporaryDirectory('cache-metadata');
after(home.remove);
before(async () => {
  lab = await makeReleaseRepository({ directory: home.path });
  tree = await readTree(lab.publicDirectory);
  newer = await forge(tree, lab, { stable: {}, snapshot: {}, timestamp: {} });
  newest3 = await forge(newer, lab, { stable: {}, snapshot: {}, timestamp: {} });
});

const TIMESTAMP = 'metadata/timestamp.json';
const NO_CACHE = { headers: { 'cache-control': 'no-cache' } };

function movableClock(): Clock & { advance(seconds: number): void } {
  let offset = 0;
  return {
    ...systemClock,
    now: () => Date.now() + offset,
    monotonic: () => performance.now() + offset,
    advance: seconds => void (offset += seconds * 1000),
  };
}

/** An origin of a tree with the cache rules of ours; `current` and `down` may be changed. */
async function originOf(t: TestContext, current: Tree) {
  const origin = {
    current,
    down: false,
    /** Changes a body on its way. */
    spoil: undefined as ((path: string, body: Buffer) => Buffer) | undefined,
  };
  const server = await upstream(t, (request, response) => {
    if (origin.down) {
      response.destroy();
      return;
    }
    const path = publicPath(request.url ?? '') ?? '';
    const body = origin.current.get(path);
    const expiresMs = Date.parse(String(newest(origin.current, 'timestamp').signed.expires));
    const control = cacheControl(objectName(path), body === undefined ? 404 : 200, Date.now(), expiresMs);
    if (body === undefined) {
      response.writeHead(404, { 'cache-control': control }).end();
      return;
    }
    const sent = origin.spoil?.(path, body) ?? body;
    const etag = `"${sha256Of(sent)}"`;
    if (request.headers['if-none-match'] === etag)
      response.writeHead(304, { 'cache-control': control, etag }).end();
    else response.writeHead(200, { 'cache-control': control, 'content-length': sent.length, etag }).end(sent);
  });
  return Object.assign(origin, {
    url: server.url,
    counts: server.counts,
    count: (path: string) => server.count(path),
  });
}

async function cacheFor(t: TestContext, upstreams: string[], more: Partial<CacheOptions> = {}) {
  const server = await startHereCache(t, upstreams, {
    timeouts: { connectSeconds: 2, headerSeconds: 20, stallSeconds: 20, totalSeconds: 30 },
    ...more,
  });
  const ask = (path: string, options: Parameters<typeof get>[1] = {}) =>
    get(`${server.url}/${path}`, options);
  return { ...server, ask, how: async (path: string) => (await ask(path)).headers['x-cache'] };
}

const versionIn = (body: Buffer) =>
  (JSON.parse(body.toString()) as { signed: { version: number } }).signed.version;

function withVersion(body: Buffer, version: number): Buffer {
  const document = JSON.parse(body.toString()) as { signed: { version: number } };
  document.signed.version = version;
  return Buffer.from(JSON.stringify(document));
}

/** Another file that parses as the same one: as a forger without keys makes it. */
const forged = (body: Buffer) => Buffer.from(body.toString().replace(/"sig":"../, '"sig":"00'));

test('a snapshot or role that is not the one named above it is not kept, its upstream is blamed, the next asked', async t => {
  const liar = await originOf(t, tree);
  const honest = await originOf(t, tree);
  liar.spoil = (path, body) => (path === TIMESTAMP ? body : forged(body));
  const cache = await cacheFor(t, [liar.url, honest.url]);
  await cache.ask(TIMESTAMP);
  for (const role of ['snapshot', 'targets', 'stable', 'releases']) {
    const { path } = newest(tree, role);
    const answer = await cache.ask(path);
    assert.ok(answer.body.equals(tree.get(path)!), role);
  }
  assert.ok(cache.stats().metadata.checked >= 4);
  const [blamed, trusted] = cache.stats().upstreams;
  assert.ok(blamed!.blamed >= 1 && trusted!.blamed === 0);
});

test('what could not be checked is checked when the file above it comes, and not served again', async t => {
  const front = await originOf(t, tree);
  const { path } = newest(tree, 'snapshot');
  const stable = newest(tree, 'stable').path;
  front.spoil = (asked, body) => (asked === path || asked === stable ? forged(body) : body);
  const cache = await cacheFor(t, [front.url]);
  assert.ok((await cache.ask(path)).body.equals(forged(tree.get(path)!)), 'nothing says otherwise yet');
  await cache.ask(stable);
  await cache.ask(TIMESTAMP);
  assert.ok(cache.stats().upstreams[0]!.blamed >= 1);
  const refused = await cache.ask(path);
  assert.equal(refused.status, 502);
  assert.match(refused.body.toString(), /^E_UPSTREAM_FORGED/);
  front.spoil = asked => tree.get(asked)!;
  assert.ok((await cache.ask(path)).body.equals(tree.get(path)!));
  assert.ok((await cache.ask(stable)).body.equals(tree.get(stable)!), 'the snapshot named another');
});

test('a body longer than its name allows is cut off', async t => {
  const front = await originOf(t, tree);
  const { path } = newest(tree, 'snapshot');
  front.spoil = (asked, body) => (asked === path ? Buffer.concat([body, Buffer.alloc(500_000, ' ')]) : body);
  const cache = await cacheFor(t, [front.url]);
  await cache.ask(TIMESTAMP);
  const { status, body } = await cache.ask(path);
  assert.equal(status, 502, body.toString());
  assert.match(body.toString(), /^E_UPSTREAM_FORGED/);
});

test('no older timestamp takes the place of a newer one while any upstream has that', async t => {
  const clock = movableClock();
  const first = await originOf(t, newer);
  const second = await originOf(t, tree);
  const cache = await cacheFor(t, [first.url, second.url], { clock });
  const version = async () => versionIn((await cache.ask(TIMESTAMP)).body);
  const [old, middle, high] = [tree, newer, newest3].map(each => newest(each, 'timestamp').version);
  assert.equal(await version(), middle);
  first.current = tree;
  second.current = newer;
  clock.advance(31);
  assert.equal(await version(), middle, 'the second has what is in force');
  second.down = true;
  clock.advance(31);
  const stale = await cache.ask(TIMESTAMP);
  assert.deepEqual([versionIn(stale.body), stale.headers['x-cache']], [middle, 'STALE']);
  second.down = false;
  second.current = newest3;
  clock.advance(31);
  assert.equal(await version(), high);
  second.current = tree;
  clock.advance(31);
  assert.equal(await version(), old, 'all of them say so: the repository was recovered');
});

test('a forged version as high as can be locks no cache: no-cache leads to another upstream for a while', async t => {
  const clock = movableClock();
  const liar = await originOf(t, tree);
  const honest = await originOf(t, tree);
  liar.spoil = (path, body) => (path === TIMESTAMP ? withVersion(body, Number.MAX_SAFE_INTEGER) : body);
  const cache = await cacheFor(t, [liar.url, honest.url], { clock });
  const own = newest(tree, 'timestamp').version;
  assert.equal(versionIn((await cache.ask(TIMESTAMP)).body), Number.MAX_SAFE_INTEGER);
  assert.equal(versionIn((await cache.ask(TIMESTAMP, NO_CACHE)).body), own);
  assert.equal(versionIn((await cache.ask(TIMESTAMP)).body), own);
  clock.advance(31);
  assert.equal(versionIn((await cache.ask(TIMESTAMP)).body), own, 'the next node need not complain again');
});

test('a whole refresh is taken from the upstream whose timestamp is in force', async t => {
  const first = await originOf(t, tree);
  const second = await originOf(t, newer);
  const cache = await cacheFor(t, [first.url, second.url]);
  await cache.ask(TIMESTAMP, NO_CACHE);
  await cache.ask(TIMESTAMP);
  const inForce = (await cache.ask(TIMESTAMP)).body.equals(newer.get(TIMESTAMP)!) ? second : first;
  const other = inForce === first ? second : first;
  const { path } = newest(inForce.current, 'snapshot');
  assert.equal((await cache.ask(path)).status, 200);
  assert.deepEqual([inForce.count(path), other.count(path)], [1, 0]);
});

test('with every upstream down a node starts as long as the metadata is signed, also after a restart of the cache', async t => {
  const store = await serveStore({ directory: lab.publicDirectory, listen: '127.0.0.1:0', log: silentLog });
  const clock = movableClock();
  const one = await cacheFor(t, [store.url], { clock });
  const node = async (url: string) => {
    const storeDirectory = join(await temporaryDirectory(t), 'store');
    return fetchRelease({ trustedRoot: lab.rootJson, storeDirectory, caches: [url], queue: 'Q1', clock });
  };
  const warm = await node(one.url);
  await store.close(0);
  clock.advance(3600);
  assert.deepEqual((await node(one.url)).release, warm.release);
  assert.equal((await one.ask('metadata/2.root.json')).status, 404);
  assert.equal(await one.how(TIMESTAMP), 'STALE');
  await one.close(0);
  const two = await cacheFor(t, [store.url], { clock, directory: one.directory });
  assert.deepEqual((await node(two.url)).release, warm.release);
  clock.advance(86_400);
  assert.equal((await two.ask(TIMESTAMP)).status, 502, 'no longer than its signature lasts');
});

test('a hung origin holds no node up that can have a stale answer', async t => {
  const clock = movableClock();
  let hung = false;
  const held: ServerResponse[] = [];
  const origin = await upstream(t, (_request: IncomingMessage, response: ServerResponse) => {
    if (hung) held.push(response);
    else
      response
        .writeHead(200, { 'cache-control': 'max-age=1, stale-if-error=900' })
        .end(metadata('timestamp', 1));
  });
  const patience: number[] = [];
  const cache = await cacheFor(t, [origin.url], {
    clock: { ...clock, sleep: async ms => void patience.push(ms) },
  });
  await cache.ask(TIMESTAMP);
  hung = true;
  clock.advance(2);
  assert.equal(await cache.how(TIMESTAMP), 'STALE');
  assert.ok(patience.includes(3000));
  for (const response of held) response.destroy();
});

test('no-cache reaches the origin once in three seconds for a name, whoever asks', async t => {
  const clock = movableClock();
  const origin = await originOf(t, tree);
  const cache = await cacheFor(t, [origin.url], { clock });
  await cache.ask(TIMESTAMP);
  const all = await Promise.all(Array.from({ length: 20 }, () => cache.ask(TIMESTAMP, NO_CACHE)));
  assert.ok(all.every(({ status, body }) => status === 200 && body.equals(tree.get(TIMESTAMP)!)));
  assert.equal(origin.count(TIMESTAMP), 2);
  assert.equal(cache.stats().metadata.forcedRenewals, 1);
  clock.advance(4);
  await cache.ask(TIMESTAMP, NO_CACHE);
  assert.equal(origin.count(TIMESTAMP), 3);
});

test('names that are nowhere reach the origin at a bounded rate; the known ones are answered meanwhile', async t => {
  const origin = await originOf(t, tree);
  const cache = await cacheFor(t, [origin.url]);
  const known = [TIMESTAMP, newest(tree, 'snapshot').path, 'metadata/1.root.json', 'metadata/2.root.json'];
  for (const path of known) await cache.ask(path);
  const before = [...origin.counts.values()].reduce((a, b) => a + b, 0);
  let refused = 0;
  for (let at = 0; at < 12; at += 1) {
    const batch = Array.from({ length: 50 }, (_, one) =>
      cache.ask(`metadata/${1000 + at * 50 + one}.stable.json`),
    );
    for (const { status, headers } of await Promise.all(batch)) {
      if (status === 404) continue;
      assert.equal(headers['retry-after'], '1');
      refused += 1;
    }
  }
  assert.ok(refused > 200, `${refused} refused`);
  const asked = [...origin.counts.values()].reduce((a, b) => a + b, 0) - before;
  assert.ok(asked < 400, `${asked} asked`);
  for (const path of known) assert.notEqual((await cache.ask(path)).status, 503, path);
  assert.equal((await cache.ask('metadata/2.root.json')).headers['x-cache'], 'HIT');
});

test('two caches over one directory find what the other one keeps', async t => {
  const origin = await originOf(t, tree);
  const directory = await temporaryDirectory(t);
  const one = await cacheFor(t, [origin.url], { directory });
  const two = await cacheFor(t, [origin.url], { directory });
  const { path } = newest(tree, 'snapshot');
  await one.ask(path);
  await waitUntil(
    async () => (await readdir(join(directory, 'answers'))).length > 0,
    'the answer is on disk',
  );
  assert.equal(await two.how(path), 'HIT');
  assert.equal(origin.count(path), 1);
});

test('a purge reaches every process, and a damaged file is removed and asked for again', async t => {
  const origin = await originOf(t, tree);
  const { path } = newest(tree, 'snapshot');
  const one = await cacheFor(t, [origin.url]);
  const answers = join(one.directory, 'answers');
  await one.ask(path);
  assert.equal(await one.how(path), 'HIT');
  assert.ok((await purgeAnswers(one.directory)) >= 1);
  await waitUntil(async () => {
    await one.ask(path);
    return origin.count(path) > 1;
  }, 'the memory was purged too');
  await one.close(0);
  for (const name of await readdir(answers)) await writeFile(join(answers, name), 'damaged');
  const two = await cacheFor(t, [origin.url], { directory: one.directory });
  assert.ok((await two.ask(path)).body.equals(tree.get(path)!));
  assert.ok(origin.count(path) > 2);
});

test('answers that vary are kept apart, validators are those of the answer, cookies end here', async t => {
  const seen: string[] = [];
  const origin = await upstream(t, (request, response) => {
    const site = String(request.headers['x-site'] ?? 'none');
    const { path } = { path: request.url! };
    seen.push(`${path} ${site} ${request.headers['if-modified-since'] ?? ''}`);
    assert.equal(request.headers.cookie, undefined);
    assert.equal(request.headers.authorization, undefined);
    const fields = { 'cache-control': 'public, max-age=60', 'set-cookie': 'a=b' };
    const modified = { 'cache-control': 'max-age=0', 'last-modified': 'Sun, 06 Nov 1994 08:49:37 GMT' };
    if (path.endsWith('site.txt')) response.writeHead(200, { ...fields, vary: 'X-Site' }).end(site);
    else if (request.headers['if-modified-since'] === undefined) response.writeHead(200, modified).end('old');
    else response.writeHead(304, modified).end();
  });
  const cache = await cacheFor(t, [origin.url]);
  const of = (site: string) =>
    cache.ask('metadata/site.txt', { headers: { 'x-site': site, cookie: 'secret' } });
  for (const site of ['cern', 'desy', 'cern', 'desy']) {
    const answer = await of(site);
    assert.equal(answer.body.toString(), site);
    assert.equal(answer.headers['set-cookie'], undefined);
  }
  assert.deepEqual(
    seen.map(line => line.split(' ')[1]),
    ['none', 'cern', 'desy'].slice(-seen.length),
  );
  assert.equal((await of('cern')).headers['x-cache'], 'HIT');
  const all = await Promise.all(Array.from({ length: 12 }, (_, at) => of(`site-${at % 3}`)));
  for (const [at, { body }] of all.entries()) assert.equal(body.toString(), `site-${at % 3}`);
  seen.length = 0;
  assert.equal(await cache.how('metadata/dated.txt'), 'MISS');
  assert.equal(await cache.how('metadata/dated.txt'), 'REVALIDATED');
  assert.deepEqual(seen.length, 2);
});

test('what a new timestamp leads to is there before a node asks, and what channels point to stays on the disk', async t => {
  const origin = await originOf(t, tree);
  const pilot = [...tree.keys()].find(path => /pilot-1\.0\.0/.test(path))!;
  const sizes = [...tree]
    .filter(([path]) => path.startsWith('targets/'))
    .reduce((sum, [, { length }]) => sum + length, 0);
  const fillers = new Map(
    Array.from({ length: 30 }, (_, at) => Buffer.alloc(2000, `${at}`)).map(body => [
      `targets/pilot/9/${sha256Of(body)}.filler.tar.gz`,
      body,
    ]),
  );
  const cache = await cacheFor(t, [origin.url], { maxStoreBytes: sizes + 30_000 });
  await cache.ask(TIMESTAMP);
  const pointers = [...tree.keys()].filter(path => path.startsWith('targets/channels/'));
  await waitUntil(() => pointers.every(path => origin.count(path) === 1), 'the pointers were fetched');
  for (const role of ['snapshot', 'stable', 'queues']) {
    assert.equal(origin.count(newest(tree, role).path), 1, role);
    assert.equal(await cache.how(newest(tree, role).path), 'HIT');
  }
  assert.equal(origin.count(pilot), 0, 'a release is fetched when a node asks');
  await cache.ask(pilot);
  origin.current = new Map([...tree, ...fillers]);
  for (const path of fillers.keys()) assert.equal((await cache.ask(path)).status, 200);
  await waitUntil(() => cache.stats().disk.objects < fillers.size, 'the disk was full');
  assert.equal(await cache.how(pilot), 'HIT');
  assert.equal(origin.count(pilot), 1);
});

test('it is ready while it may answer without an upstream, and finds out by itself that one is back', async t => {
  const clock = movableClock();
  const origin = await originOf(t, tree);
  const cache = await cacheFor(t, [origin.url], { clock });
  const ready = async () => {
    const { status, body } = await cache.ask('readyz');
    const { checks } = JSON.parse(body.toString()) as { checks: { name: string; detail: string }[] };
    return { status, detail: checks.find(({ name }) => name === 'source')!.detail };
  };
  await cache.ask(TIMESTAMP);
  origin.down = true;
  clock.advance(31);
  assert.equal(await cache.how(TIMESTAMP), 'STALE');
  const kept = await ready();
  assert.equal(kept.status, 200);
  assert.match(kept.detail, /^1 of 1 upstreams fail; the timestamp kept serves until 20/);
  clock.advance(Date.parse(String(newest(tree, 'timestamp').signed.expires)) / 1000 - clock.now() / 1000);
  const expired = await ready();
  assert.equal(expired.status, 503);
  assert.match(expired.detail, /^1 of 1 upstreams fail; the timestamp kept served until 20/);
  assert.equal(cache.stats().notReady, 1);
  origin.down = false;
  await waitUntil(async () => {
    clock.advance(10);
    return (await ready()).status === 200;
  }, 'no client has to come first');
});
