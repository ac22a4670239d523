import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { CacheOptions } from '../../../codecache/proxy/serve-cache.ts';
import { systemClock } from '../../../lib/clock.ts';
import { startHereCache } from './here-cache.ts';
import { get, sha256, temporaryDirectory, upstream } from './web.ts';

const TIMESTAMP = 'metadata/timestamp.json';
const ROOT = 'metadata/2.root.json';
const TARGETS = 'metadata/5.targets.json';
const NO_CACHE = { headers: { 'cache-control': 'no-cache' } };
const SHORT = 'public, max-age=30, stale-if-error=3600';
const LONG = 'public, max-age=31536000, immutable';

interface Chain {
  timestamp: number;
  snapshot: number;
  /** Tells this repository from another one of the same versions. */
  mark: string;
  expiresInSeconds?: number;
}

/** A timestamp that names a snapshot that names version 5 of targets, each by its hash. */
function chain({ timestamp, snapshot, mark, expiresInSeconds = 86_400 }: Chain): Map<string, string> {
  const signed = (type: string, version: number, meta: object, seconds = 86_400) =>
    JSON.stringify({
      signatures: [],
      signed: { _type: type, version, meta, mark, expires: new Date(Date.now() + seconds * 1000) },
    });
  const named = (version: number, body: string) => ({
    version,
    length: body.length,
    hashes: { sha256: sha256(body) },
  });
  const targets = signed('targets', 5, {});
  const below = signed('snapshot', snapshot, { 'targets.json': named(5, targets) });
  const top = { 'snapshot.json': named(snapshot, below) };
  return new Map([
    [TIMESTAMP, signed('timestamp', timestamp, top, expiresInSeconds)],
    [`metadata/${snapshot}.snapshot.json`, below],
    [TARGETS, targets],
    [ROOT, ''],
  ]);
}

const honestChain = () => chain({ timestamp: 10, snapshot: 7, mark: 'honest' });

async function originOf(t: TestContext, files: Map<string, string>) {
  const origin = { files, missing: 'public, max-age=60', fields: {} as Record<string, string> };
  const server = await upstream(t, (request, response) => {
    const path = request.url!.slice(1);
    const body = origin.files.get(path);
    if (body === undefined || body === '') response.writeHead(404, { 'cache-control': origin.missing }).end();
    else {
      const control = path === TIMESTAMP ? SHORT : LONG;
      response.writeHead(200, { 'cache-control': control, ...origin.fields }).end(body);
    }
  });
  return Object.assign(origin, { url: server.url, count: (path: string) => server.count(path) });
}

async function cacheFor(t: TestContext, upstreams: string[], more: Partial<CacheOptions> = {}) {
  let offset = 0;
  const clock = {
    ...systemClock,
    now: () => Date.now() + offset,
    monotonic: () => performance.now() + Math.max(0, offset),
  };
  const server = await startHereCache(t, upstreams, {
    clock,
    maxMetadataBytes: 2 ** 16,
    timeouts: { connectSeconds: 2, headerSeconds: 20, stallSeconds: 20, totalSeconds: 30 },
    ...more,
  });
  const ask = async (path: string, options: Parameters<typeof get>[1] = {}) => {
    const { status, body, headers } = await get(`${server.url}/${path}`, options);
    return { status, text: body.toString(), how: headers['x-cache'], retryAfter: headers['retry-after'] };
  };
  return {
    ...server,
    ask,
    advance: (seconds: number) => void (offset += seconds * 1000),
    blamed: (url: string) => server.stats().upstreams.find(each => each.url === url)!.blamed,
  };
}

test('a forged chain gets no honest upstream blamed, and goes with its timestamp', async t => {
  const honest = await originOf(t, honestChain());
  const forger = await originOf(
    t,
    chain({ timestamp: Number.MAX_SAFE_INTEGER, snapshot: 999, mark: 'forged' }),
  );
  const cache = await cacheFor(t, [honest.url, forger.url]);
  for (const path of [TIMESTAMP, 'metadata/7.snapshot.json', TARGETS]) await cache.ask(path);
  // A client in league with the forger complains of the honest timestamp.
  assert.equal((await cache.ask(TIMESTAMP, NO_CACHE)).text, forger.files.get(TIMESTAMP));
  await cache.ask('metadata/999.snapshot.json');
  await cache.ask(TARGETS);
  cache.advance(4);
  assert.equal((await cache.ask(TIMESTAMP, NO_CACHE)).text, honest.files.get(TIMESTAMP));
  const healed = await cache.ask(TARGETS);
  assert.deepEqual([healed.status, healed.text], [200, honest.files.get(TARGETS)]);
  assert.equal(cache.blamed(honest.url), 0);
  assert.equal(cache.stats().upstreams.find(({ url }) => url === honest.url)!.trusted, true);
  cache.advance(31);
  assert.equal((await cache.ask(TIMESTAMP)).text, honest.files.get(TIMESTAMP));
});

test('a forged root is kept until a client complains of it, not against the word of another upstream', async t => {
  const honest = await originOf(t, honestChain());
  const forged = JSON.stringify({ signed: { _type: 'root', version: 2 } });
  const forger = await originOf(t, new Map([...honestChain(), [ROOT, forged]]));
  const cache = await cacheFor(t, [forger.url, honest.url]);
  assert.equal((await cache.ask(ROOT)).text, forged);
  assert.equal((await cache.ask(ROOT, NO_CACHE)).status, 404);
  assert.equal((await cache.ask(ROOT)).status, 404);
  cache.advance(61);
  assert.equal((await cache.ask(ROOT)).status, 404, 'the next node need not complain again');
  const published = JSON.stringify({ signed: { _type: 'root', version: 2, mark: 'honest' } });
  honest.files.set(ROOT, published);
  cache.advance(61);
  assert.equal((await cache.ask(ROOT)).text, published);
});

test('no upstream hides for longer than a minute that there is a new root or timestamp', async t => {
  const origin = await originOf(t, honestChain());
  origin.missing = LONG;
  origin.fields = { 'cache-control': LONG };
  const cache = await cacheFor(t, [origin.url]);
  assert.equal((await cache.ask(ROOT)).status, 404);
  await cache.ask(TIMESTAMP);
  assert.deepEqual([(await cache.ask(ROOT)).how, (await cache.ask(TIMESTAMP)).how], ['HIT', 'HIT']);
  origin.files = new Map([...chain({ timestamp: 11, snapshot: 7, mark: 'honest' }), [ROOT, honestRoot]]);
  cache.advance(61);
  assert.equal((await cache.ask(ROOT)).text, honestRoot);
  assert.equal((await cache.ask(TIMESTAMP)).text, origin.files.get(TIMESTAMP));
});

const honestRoot = JSON.stringify({ signed: { _type: 'root', version: 2, mark: 'honest' } });

test('an expired timestamp is taken from nobody while another upstream has one in force', async t => {
  const dead = await originOf(t, chain({ timestamp: 9, snapshot: 6, mark: 'honest', expiresInSeconds: -5 }));
  const honest = await originOf(t, honestChain());
  const cache = await cacheFor(t, [dead.url, honest.url]);
  assert.equal((await cache.ask(TIMESTAMP)).text, honest.files.get(TIMESTAMP));
  cache.advance(4);
  assert.equal((await cache.ask(TIMESTAMP, NO_CACHE)).text, honest.files.get(TIMESTAMP));
});

test('with the clock set back by a year nothing stays fresh for that year, on the raw socket neither', async t => {
  const origin = await originOf(t, honestChain());
  const cache = await cacheFor(t, [origin.url]);
  cache.advance(86_400 * 365);
  origin.files = chain({ timestamp: 10, snapshot: 7, mark: 'honest', expiresInSeconds: 86_400 * 366 });
  await cache.ask(TIMESTAMP);
  await cache.ask(TIMESTAMP);
  assert.equal((await cache.ask(TIMESTAMP)).how, 'HIT');
  cache.advance(-86_400 * 365);
  origin.files = chain({ timestamp: 11, snapshot: 7, mark: 'honest' });
  assert.equal((await cache.ask(TIMESTAMP)).text, origin.files.get(TIMESTAMP));
  assert.equal((await cache.ask(TIMESTAMP)).how, 'HIT');
});

test('a Vary that names what every object has, or another field each time, fails one upstream and no client', async t => {
  let at = 0;
  const bad = await upstream(t, (request, response) => {
    const vary = request.url!.endsWith('turn.json') ? ['accept', 'user-agent'][at++ % 2]! : 'constructor';
    response.writeHead(200, { 'cache-control': LONG, vary }).end(`by ${vary}`);
  });
  const honest = await upstream(t, (_request, response) => {
    response.writeHead(200, { 'cache-control': LONG }).end('honest');
  });
  const cache = await cacheFor(t, [bad.url, honest.url]);
  const fields = { headers: { accept: 'a', 'user-agent': 'b' } };
  assert.deepEqual((await cache.ask('metadata/one.json', fields)).text, 'by constructor');
  assert.deepEqual((await cache.ask('metadata/turn.json', fields)).text, 'honest');
  assert.ok(bad.count('metadata/turn.json') <= 2);
});

test('what an upstream gave that was taken out of service is not served after that', async t => {
  const directory = await temporaryDirectory(t);
  const bad = await originOf(t, chain({ timestamp: 99, snapshot: 99, mark: 'forged' }));
  const before = await cacheFor(t, [bad.url], { directory });
  await before.ask(TIMESTAMP);
  await before.ask(TARGETS);
  await before.close(0);
  const honest = await originOf(t, honestChain());
  const after = await cacheFor(t, [honest.url], { directory });
  for (const path of [TIMESTAMP, TARGETS])
    assert.equal((await after.ask(path)).text, honest.files.get(path), path);
});

test('a client cannot get an upstream blamed by asking for what is too large and has no signed length', async t => {
  const large = 'x'.repeat(70_000);
  const honest = await originOf(t, new Map([['metadata/index.html', large]]));
  const cache = await cacheFor(t, [honest.url]);
  assert.match((await cache.ask('metadata/index.html')).text, /^E_UPSTREAM_FAILED/);
  assert.equal(cache.blamed(honest.url), 0);
});

test('the patience that one upstream asks for is not asked of clients for another', async t => {
  const failing = (fields: Record<string, string>) =>
    upstream(t, (_request, response) => void response.writeHead(503, fields).end());
  const [patient, broken] = [await failing({ 'retry-after': '300' }), await failing({})];
  const object = `targets/${sha256('x')}.x`;
  for (const upstreams of [
    [broken.url, patient.url],
    [patient.url, broken.url],
  ]) {
    const cache = await cacheFor(t, upstreams);
    for (const path of [TIMESTAMP, object]) {
      const { status, retryAfter } = await cache.ask(path);
      assert.deepEqual([status, retryAfter], [502, undefined], path);
    }
  }
  const alone = await cacheFor(t, [patient.url]);
  assert.equal((await alone.ask(TIMESTAMP)).retryAfter, '300');
});
