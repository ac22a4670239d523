import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { readCacheStats } from '../../../codecache/proxy/operations/read-stats.ts';
import type { CacheOptions } from '../../../codecache/proxy/serve-cache.ts';
import { systemClock } from '../../../lib/clock.ts';
import type { Clock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import { startHereCache } from './here-cache.ts';
import { get, metadata, plant, sha256, temporaryDirectory, upstream, waitUntil } from './web.ts';

const small = randomBytes(50_000);
const large = randomBytes(5_000_000);
const nameOf = (bytes: Buffer) => `targets/pilot/1/${sha256(bytes)}.pilot.tar.gz`;

const cacheFor = (t: TestContext, upstreams: string[], more: Partial<CacheOptions> = {}) =>
  startHereCache(t, upstreams, {
    timeouts: { connectSeconds: 2, headerSeconds: 3, stallSeconds: 1, totalSeconds: 30 },
    ...more,
  });

/** An origin of the given files with the cache rules of the real one. */
const files =
  (contents: Record<string, Buffer | string>, cacheControl = 'public, max-age=31536000, immutable') =>
  (request: IncomingMessage, response: ServerResponse) => {
    const body = contents[(request.url ?? '').slice(1)];
    if (body === undefined) response.writeHead(404, { 'cache-control': 'public, max-age=5' }).end();
    else
      response
        .writeHead(200, { 'cache-control': cacheControl, 'content-length': Buffer.byteLength(body) })
        .end(body);
  };

/** What of hash-named objects lies in the cache's directory. */
async function keptObjects(directory: string): Promise<string[]> {
  const entries = await readdir(join(directory, 'objects'), { recursive: true, withFileTypes: true });
  return entries.filter(entry => entry.isFile()).map(entry => entry.name);
}

function movableClock(): Clock & { advance(seconds: number): void } {
  let offset = 0;
  return { ...systemClock, now: () => Date.now() + offset, advance: seconds => (offset += seconds * 1000) };
}

test('fifty clients at once cost the origin one request per object, and all get the right bytes', async t => {
  const origin = await upstream(t, files({ [nameOf(large)]: large, [nameOf(small)]: small }));
  const cache = await cacheFor(t, [origin.url]);
  for (const body of [large, small]) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => get(`${cache.url}/${nameOf(body)}`)));
    for (const answer of answers) {
      assert.equal(answer.status, 200);
      assert.ok(answer.body.equals(body));
    }
    assert.equal(origin.count(nameOf(body)), 1);
  }
  const again = await get(`${cache.url}/${nameOf(small)}`);
  assert.match(String(again.headers['cache-status']), /^pilotage-cache; hit; ttl=\d+$/);
  assert.equal(again.headers['x-cache'], 'HIT');
  assert.match(again.headers.via!, /^1\.1 pilotage-/);
  assert.match(again.headers.age as string, /^\d+$/);
  const stats = await readCacheStats(cache.url);
  assert.equal(stats.misses, 2);
  assert.equal(stats.hits + stats.joined, 99);
  await waitUntil(async () => (await keptObjects(cache.directory)).length === 2, 'both are on disk');
});

test('a forged object is never served whole nor kept, and the upstream that sent it is named', async t => {
  for (const body of [small, large]) {
    const forged = Buffer.from(body);
    forged[forged.length - 100]! ^= 1;
    const liar = await upstream(t, files({ [nameOf(body)]: forged }));
    const cache = await cacheFor(t, [liar.url]);
    const answers = await Promise.all(Array.from({ length: 5 }, () => get(`${cache.url}/${nameOf(body)}`)));
    for (const answer of answers) {
      assert.ok(answer.status !== 200 || !answer.complete, 'no client may take it for whole');
      assert.ok(answer.body.length < body.length);
    }
    const range = await get(`${cache.url}/${nameOf(body)}`, { headers: { range: 'bytes=0-99' } });
    assert.equal(range.status, 502);
    assert.match(range.body.toString(), /^E_UPSTREAM_FORGED/);
    assert.deepEqual(await keptObjects(cache.directory), []);
    assert.deepEqual(await readdir(join(cache.directory, 'incoming')), []);
    const [blamed] = cache.stats().upstreams;
    assert.equal(blamed!.url, liar.url);
    assert.ok(blamed!.blamed >= 2);
    assert.equal(blamed!.lastBlame!.object, nameOf(body));
  }
});

test('past a lying upstream the next one is asked, and the client sees only the right bytes', async t => {
  const liar = await upstream(t, files({ [nameOf(small)]: randomBytes(50_000) }));
  const honest = await upstream(t, files({ [nameOf(small)]: small }));
  const cache = await cacheFor(t, [liar.url, honest.url]);
  const answer = await get(`${cache.url}/${nameOf(small)}`);
  assert.ok(answer.body.equals(small));
  assert.equal(liar.count(nameOf(small)), 2, 'once, and once more past the caches above');
  assert.deepEqual(
    cache.stats().upstreams.map(({ blamed }) => blamed),
    [2, 0],
  );
});

test('an upstream that is down, hangs, fails or cuts the body is passed over', async t => {
  const honest = await upstream(
    t,
    files({ [nameOf(small)]: small, 'metadata/2.snapshot.json': metadata('snapshot', 2) }),
  );
  const gone = await upstream(t, () => undefined);
  await gone.close();
  const bad: [string, (request: IncomingMessage, response: ServerResponse) => void][] = [
    ['503', (_request, response) => void response.writeHead(503, { 'retry-after': '7' }).end()],
    ['garbage', (_request, response) => void response.writeHead(200).end('<html>login please</html>')],
    ['gzip', (_request, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(small)],
    [
      'cut',
      (_request, response) => {
        response.writeHead(200, { 'content-length': 50_000 });
        response.write(small.subarray(0, 1000), () => response.destroy());
      },
    ],
    [
      'stall',
      (_request, response) => {
        response.writeHead(200, { 'content-length': 50_000 });
        response.write(small.subarray(0, 1000));
      },
    ],
  ];
  const urls: [string, string][] = [['gone', gone.url]];
  for (const [what, handler] of bad) urls.push([what, (await upstream(t, handler)).url]);
  for (const [what, url] of urls) {
    const cache = await cacheFor(t, [url, honest.url]);
    const object = await get(`${cache.url}/${nameOf(small)}`);
    assert.ok(object.body.equals(small), what);
    const snapshot = await get(`${cache.url}/metadata/2.snapshot.json`);
    assert.equal(snapshot.status, 200, what);
    const [first] = cache.stats().upstreams;
    assert.ok(first!.failures + first!.blamed > 0, what);
  }
});

test('without any upstream a kept object is served, anything else is refused by name', async t => {
  const origin = await upstream(t, files({ [nameOf(small)]: small }));
  const cache = await cacheFor(t, [origin.url]);
  await get(`${cache.url}/${nameOf(small)}`);
  await origin.close();
  assert.ok((await get(`${cache.url}/${nameOf(small)}`)).body.equals(small));
  const other = await get(`${cache.url}/${nameOf(large)}`);
  assert.equal(other.status, 502);
  assert.match(other.body.toString(), new RegExp(`E_UPSTREAM_FAILED.*${origin.url}`));
});

test('timestamp: fresh from the store, then revalidated, then stale if the origin fails, then refused', async t => {
  const directory = await temporaryDirectory(t);
  await plant(directory, {
    'metadata/timestamp.json': metadata('timestamp', 1, 600),
    'metadata/1.root.json': metadata('root', 1),
  });
  const store = await serveStore({ directory, listen: '127.0.0.1:0', log: silentLog });
  t.after(() => store.close(0));
  let down = false;
  const front = await upstream(t, (request, response) => {
    if (down) response.destroy();
    else
      void get(store.url, { path: request.url!, headers: request.headers as Record<string, string> }).then(
        answer => response.writeHead(answer.status, answer.headers).end(answer.body),
      );
  });
  const clock = movableClock();
  const cache = await cacheFor(t, [front.url], { clock });
  const ask = (headers: Record<string, string> = {}) =>
    get(`${cache.url}/metadata/timestamp.json`, { headers });
  assert.equal((await ask()).headers['x-cache'], 'MISS');
  assert.equal((await ask()).headers['x-cache'], 'HIT');
  assert.equal(front.count('metadata/timestamp.json'), 1);
  clock.advance(31);
  assert.equal((await ask()).headers['x-cache'], 'REVALIDATED');
  assert.equal((await ask()).headers['x-cache'], 'HIT');
  assert.equal((await ask({ 'cache-control': 'no-cache' })).headers['x-cache'], 'MISS');
  await writeFile(join(directory, 'metadata/timestamp.json'), metadata('timestamp', 2, 600));
  clock.advance(31);
  const changed = await ask();
  assert.equal(changed.headers['x-cache'], 'MISS');
  assert.equal((JSON.parse(changed.body.toString()) as { signed: { version: number } }).signed.version, 2);
  down = true;
  clock.advance(60);
  const stale = await ask();
  assert.equal(stale.headers['x-cache'], 'STALE');
  assert.ok(Number(stale.headers.age) >= 60);
  assert.deepEqual(stale.body, changed.body);
  clock.advance(900);
  assert.equal((await ask()).status, 502, 'no longer than its signature lasts');
});

test('nothing is kept by guesswork: without explicit freshness each request goes upstream', async t => {
  const origin = await upstream(t, (_request, response) =>
    response.writeHead(200, { 'last-modified': new Date(0).toUTCString() }).end(metadata('timestamp', 1)),
  );
  const cache = await cacheFor(t, [origin.url]);
  await get(`${cache.url}/metadata/timestamp.json`);
  await get(`${cache.url}/metadata/timestamp.json`);
  assert.equal(origin.count('metadata/timestamp.json'), 2);
});

test('the 404 for the next root is kept for as long as the origin says', async t => {
  const directory = await temporaryDirectory(t);
  await plant(directory, { 'metadata/1.root.json': metadata('root', 1) });
  const store = await serveStore({ directory, listen: '127.0.0.1:0', log: silentLog });
  t.after(() => store.close(0));
  const clock = movableClock();
  const cache = await cacheFor(t, [store.url], { clock });
  assert.equal((await get(`${cache.url}/metadata/2.root.json`)).status, 404);
  await plant(directory, { 'metadata/2.root.json': metadata('root', 2) });
  const kept = await get(`${cache.url}/metadata/2.root.json`);
  assert.equal(kept.status, 404);
  assert.equal(kept.headers['x-cache'], 'HIT');
  const past = await get(`${cache.url}/metadata/2.root.json`, { headers: { 'cache-control': 'no-cache' } });
  assert.equal(past.status, 200);
});

test('no-cache reaches metadata, asks another upstream first, and cannot evict a verified object', async t => {
  const wrong = metadata('snapshot', 2).replace('"signatures":[]', '"signatures":[{}]');
  const first = await upstream(t, files({ 'metadata/2.snapshot.json': wrong, [nameOf(small)]: small }));
  const second = await upstream(t, files({ 'metadata/2.snapshot.json': metadata('snapshot', 2) }));
  const cache = await cacheFor(t, [first.url, second.url]);
  const url = `${cache.url}/metadata/2.snapshot.json`;
  assert.equal((await get(url)).body.toString(), wrong);
  const headers = { 'cache-control': 'no-cache' };
  assert.equal((await get(url, { headers })).body.toString(), metadata('snapshot', 2));
  assert.equal((await get(url)).body.toString(), metadata('snapshot', 2));
  await get(`${cache.url}/${nameOf(small)}`);
  await get(`${cache.url}/${nameOf(small)}`, { headers });
  assert.equal(first.count(nameOf(small)), 1);
});

test('a restart keeps the index; a damaged file is found before it is served again', async t => {
  const origin = await upstream(
    t,
    files({ [nameOf(small)]: small, 'metadata/3.targets.json': metadata('targets', 3) }),
  );
  const one = await cacheFor(t, [origin.url]);
  await get(`${one.url}/${nameOf(small)}`);
  await get(`${one.url}/metadata/3.targets.json`);
  await one.close(0);
  const clock = movableClock();
  clock.advance(100);
  const two = await cacheFor(t, [origin.url], { directory: one.directory, clock });
  for (const source of ['disk', 'memory', 'the raw socket']) {
    const { headers } = await get(`${two.url}/${nameOf(small)}`);
    assert.equal(headers['x-cache'], 'HIT');
    assert.ok(Number(headers.age) >= 100, `from ${source}: Age ${headers.age}`);
  }
  assert.equal((await get(`${two.url}/metadata/3.targets.json`)).headers['x-cache'], 'HIT');
  assert.equal(origin.count(nameOf(small)), 1);
  await two.close(0);
  const damaged = Buffer.from(small);
  damaged[7]! ^= 1;
  await writeFile(join(one.directory, 'objects', sha256(small).slice(0, 2), sha256(small)), damaged);
  const three = await cacheFor(t, [origin.url], { directory: one.directory });
  assert.ok((await get(`${three.url}/${nameOf(small)}`)).body.equals(small));
  assert.equal(origin.count(nameOf(small)), 2);
});

for (const [from, memoryBytes] of [
  ['memory', 2 ** 24],
  ['disk', 0],
] as const) {
  test(`the least recently used objects, served from ${from}, go when the quota is full`, async t => {
    const bodies = Array.from({ length: 5 }, () => randomBytes(40_000));
    const origin = await upstream(t, files(Object.fromEntries(bodies.map(body => [nameOf(body), body]))));
    const cache = await cacheFor(t, [origin.url], { maxStoreBytes: 130_000, memoryBytes });
    const kept = async () => (await keptObjects(cache.directory)).sort();
    for (const [index, body] of bodies.slice(0, 3).entries()) {
      await get(`${cache.url}/${nameOf(body)}`);
      await waitUntil(() => cache.stats().disk.objects === index + 1, 'it is on disk');
    }
    await get(`${cache.url}/${nameOf(bodies[0]!)}`);
    await get(`${cache.url}/${nameOf(bodies[3]!)}`);
    const expected = [bodies[0]!, bodies[3]!].map(sha256).sort();
    await waitUntil(async () => JSON.stringify(await kept()) === JSON.stringify(expected), 'down to 80 %');
  });
}

test('an object over the limit is refused by its announcement or as it grows', async t => {
  const announced = await upstream(t, (_request, response) => {
    response.writeHead(200, { 'content-length': small.length }).flushHeaders();
  });
  const growing = await upstream(t, (_request, response) => {
    response.writeHead(200);
    response.write(small);
    response.end();
  });
  for (const origin of [announced, growing]) {
    const cache = await cacheFor(t, [origin.url], { maxObjectBytes: 20_000 });
    assert.equal((await get(`${cache.url}/${nameOf(small)}`)).status, 502);
    assert.ok(cache.stats().upstreams[0]!.blamed > 0);
    assert.deepEqual(await keptObjects(cache.directory), []);
  }
});

test('a client that leaves does not end the fetch of the others', async t => {
  let release: (() => void) | undefined;
  const origin = await upstream(t, (_request, response) => {
    response.writeHead(200, { 'content-length': small.length });
    response.write(small.subarray(0, 10));
    release = () => response.end(small.subarray(10));
  });
  const cache = await cacheFor(t, [origin.url], {
    timeouts: { connectSeconds: 2, headerSeconds: 20, stallSeconds: 20, totalSeconds: 30 },
  });
  const { request } = await import('node:http');
  const leader = request(`${cache.url}/${nameOf(small)}`, { agent: false });
  leader.on('error', () => undefined);
  leader.end();
  await waitUntil(() => release !== undefined, 'the leader reached the origin');
  const follower = get(`${cache.url}/${nameOf(small)}`);
  leader.destroy();
  release!();
  assert.ok((await follower).body.equals(small));
  assert.equal(origin.count(nameOf(small)), 1);
});

test('it asks its upstreams only and goes in no circle', async t => {
  const victim = await upstream(t, (_request, response) => void response.end('inside'));
  const origin = await upstream(t, files({}));
  const cache = await cacheFor(t, [origin.url]);
  assert.equal((await get(cache.url, { path: `${victim.url}/metadata/1.root.json` })).status, 403);
  for (const path of ['//127.0.0.1/metadata/x.json', '/secret', '/metadata/../x']) {
    assert.equal((await get(cache.url, { path })).status, 404, path);
  }
  assert.equal(victim.counts.size, 0);
  assert.equal(origin.counts.size, 0);
  const { via } = (await get(`${cache.url}/metadata/1.root.json`)).headers;
  const circle = await get(`${cache.url}/metadata/1.root.json`, { headers: { via: via! } });
  assert.equal(circle.status, 508);
  assert.equal((await get(`${cache.url}/metadata/1.root.json`, { method: 'TRACE' })).status, 405);
});

test('two caches that ask each other end the circle at once', async t => {
  const dead = await upstream(t, files({}));
  await dead.close();
  const upstreams: string[] = [];
  const slow = { connectSeconds: 2, headerSeconds: 20, stallSeconds: 20, totalSeconds: 30 };
  const first = await upstream(t, (request, response) => {
    // The address of a cache is known once it listens; this passes on to the other one, headers and all.
    get(upstreams[0]!, { path: request.url!, headers: { via: request.headers.via ?? '' } }).then(
      got => response.writeHead(got.status).end(got.body),
      () => response.destroy(),
    );
  });
  const second = await cacheFor(t, [dead.url, first.url], { timeouts: slow });
  const cache = await cacheFor(t, [dead.url, second.url], { timeouts: slow });
  upstreams.push(cache.url);
  for (const path of [nameOf(small), 'metadata/1.root.json']) {
    const started = Date.now();
    const { status, body } = await get(`${cache.url}/${path}`);
    assert.equal(status, 502, body.toString());
    assert.ok(Date.now() - started < 10_000, path);
  }
  assert.equal(cache.stats().refused, 2, 'its own requests came back to it');
});

test('who asks for bytes by a path that is nowhere does not take them from who knows the right one', async t => {
  const wrong = nameOf(small).replace('/1/', '/nowhere/');
  const asked = Promise.withResolvers<() => void>();
  const origin = await upstream(t, (request, response) => {
    if (request.url === `/${wrong}`) asked.resolve(() => response.writeHead(404).end());
    else response.writeHead(200, { 'content-length': small.length }).end(small);
  });
  const cache = await cacheFor(t, [origin.url]);
  const lost = get(`${cache.url}/${wrong}`);
  const answer = await asked.promise;
  const right = get(`${cache.url}/${nameOf(small)}`);
  await waitUntil(async () => (await get(`${cache.url}/livez`)).status === 200, 'the request is in');
  answer();
  assert.equal((await lost).status, 404);
  assert.ok((await right).body.equals(small));
});
