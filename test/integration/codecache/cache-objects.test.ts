import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { DiskTier } from '../../../codecache/proxy/objects/disk-tier.ts';
import { IncomingFile } from '../../../codecache/proxy/objects/incoming-file.ts';
import { LocalKeeper } from '../../../codecache/proxy/objects/local-keeper.ts';
import { MemoryTier } from '../../../codecache/proxy/objects/memory-tier.ts';
import { OpenObject } from '../../../codecache/proxy/objects/open-objects.ts';
import { objectNames, objectPath } from '../../../codecache/proxy/objects/object-place.ts';
import { silentLog } from '../../../lib/log.ts';
import { startHereCache } from './here-cache.ts';
import { get, sha256, temporaryDirectory, upstream, waitUntil } from './web.ts';

const MiB = 1 << 20;
const small = randomBytes(50_000);
const large = randomBytes(9 * MiB);
const names = new WeakMap<Buffer, string>();
function nameOf(bytes: Buffer): string {
  const name = names.get(bytes) ?? `targets/pilot/1/${sha256(bytes)}.pilot.tar.gz`;
  names.set(bytes, name);
  return name;
}

/** Objects of these bytes, at once. */
const serving =
  (...bodies: Buffer[]) =>
  (asked: IncomingMessage, response: ServerResponse) => {
    const body = bodies.find(one => asked.url === `/${nameOf(one)}`);
    if (body === undefined) response.writeHead(404).end();
    else response.writeHead(200, { 'content-length': body.length }).end(body);
  };

/** An origin that sends of a body what it is told to; all of it to who asks again. */
async function slowOrigin(t: TestContext, body: Buffer, announced = true) {
  const asked = Promise.withResolvers<ServerResponse>();
  let sent = 0;
  let closed = false;
  const origin = await upstream(t, (_request, response) => {
    if (announced) response.setHeader('content-length', body.length);
    response.writeHead(200).flushHeaders();
    if ([...origin.counts.values()][0] !== 1) return void response.end(body);
    response.once('close', () => (closed = true));
    return asked.resolve(response);
  });
  return {
    ...origin,
    asked: asked.promise,
    closed: () => closed,
    /** Sends up to this position. */
    give: async (position: number) => {
      const response = await asked.promise;
      response.write(body.subarray(sent, position));
      sent = position;
    },
    finish: async () => (await asked.promise).end(body.subarray(sent)),
    cut: async () => (await asked.promise).destroy(),
  };
}

interface Reading {
  client: ClientRequest;
  status: number;
  headers: IncomingMessage['headers'];
  bytes(): Buffer;
  /** How it ended: whether all of it came. */
  ended: Promise<boolean>;
}

/** A request whose answer is looked at while it arrives; resolves with its header. */
async function read(url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Reading> {
  const client = request(url, { agent: false, headers, method }).end();
  client.on('error', () => undefined);
  const [reply] = (await once(client, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  reply.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', () => undefined);
  const ended = new Promise<boolean>(resolve => reply.once('close', () => resolve(reply.complete)));
  return {
    client,
    status: reply.statusCode!,
    headers: reply.headers,
    bytes: () => Buffer.concat(chunks),
    ended,
  };
}

for (const [where, memoryBytes] of [
  ['in memory', 64 * MiB],
  ['in a file', 0],
] as const) {
  test(`while an object arrives ${where} its followers get all but the end, whole or in part`, async t => {
    const origin = await slowOrigin(t, large);
    const cache = await startHereCache(t, [origin.url], { memoryBytes });
    const url = `${cache.url}/${nameOf(large)}`;
    const whole = read(url);
    const head = read(url, {}, 'HEAD');
    await origin.asked;
    assert.equal(
      (await head).headers['content-length'],
      String(large.length),
      'HEAD waits for the length only',
    );
    await origin.give(6 * MiB);
    const follower = await read(url);
    const part = await read(url, { range: `bytes=${MiB}-${5 * MiB - 1}` });
    assert.equal(part.status, 206);
    await waitUntil(() => follower.bytes().length >= 6 * MiB, 'what is here is given out');
    await waitUntil(() => part.bytes().length >= 4 * MiB - (1 << 16), 'of a part as well');
    assert.equal(part.bytes().length, 4 * MiB - (1 << 16), 'the end of it waits for the hash');
    await origin.give(large.length - 1);
    const early = await read(url);
    await waitUntil(() => early.bytes().length >= large.length - (1 << 16), 'all but the end');
    assert.equal(early.bytes().length, large.length - (1 << 16));
    await origin.finish();
    for (const reading of [await whole, follower, early]) {
      assert.ok(await reading.ended);
      assert.ok(reading.bytes().equals(large));
    }
    assert.ok(await part.ended);
    assert.ok(part.bytes().equals(large.subarray(MiB, 5 * MiB)));
    assert.equal(origin.count(nameOf(large)), 1);
  });
}

test('behind a forger nobody gets a complete answer with a wrong byte, not of a part either', async t => {
  const forged = Buffer.from(large);
  forged[MiB + 5]! ^= 1;
  const origin = await slowOrigin(t, forged);
  const cache = await startHereCache(t, [origin.url]);
  const url = `${cache.url}/${nameOf(large)}`;
  const whole = read(url);
  await origin.give(8 * MiB);
  const part = await read(url, { range: `bytes=${MiB}-${4 * MiB - 1}` });
  const tiny = get(url, { headers: { range: `bytes=${MiB}-${MiB + 9}` } });
  await waitUntil(() => part.bytes().length > 0, 'it begins early');
  await origin.finish();
  assert.equal(await (await whole).ended, false);
  assert.equal(await part.ended, false);
  assert.equal((await tiny).status, 502, 'who asked for less than is held back got no byte of it');
  assert.equal(origin.count(nameOf(large)), 2, 'past the caches above once more');
  assert.deepEqual(await Array.fromAsync(objectNames(cache.directory)), []);
  assert.deepEqual(await readdir(join(cache.directory, 'incoming')), []);
});

test('who has got nothing goes on with the next upstream; who has got bytes of a failed body is cut', async t => {
  const first = await slowOrigin(t, large);
  const second = await upstream(t, serving(large));
  const cache = await startHereCache(t, [first.url, second.url]);
  const url = `${cache.url}/${nameOf(large)}`;
  const begun = read(url);
  await first.give(5 * MiB);
  const reading = await begun;
  await waitUntil(() => reading.bytes().length > MiB, 'it has bytes');
  const end = get(url, { headers: { range: 'bytes=-10' } });
  const later = get(url, { headers: { range: `bytes=${7 * MiB}-` } });
  await waitUntil(() => cache.stats().upstreams.length === 2, 'both wait');
  await first.cut();
  assert.equal(await reading.ended, false);
  assert.ok(large.subarray(0, reading.bytes().length).equals(reading.bytes()));
  assert.ok((await end).body.equals(large.subarray(-10)));
  assert.ok((await later).body.equals(large.subarray(7 * MiB)));
  assert.equal(second.count(nameOf(large)), 1);
});

test('what is forged is served to nobody, also after an honest upstream has sent it', async t => {
  const liar = await upstream(t, (_request, response) => {
    response.writeHead(200, { 'content-length': small.length }).end(randomBytes(small.length));
  });
  const honest = await upstream(t, serving(small));
  const cache = await startHereCache(t, [liar.url, honest.url]);
  const answers = await Promise.all(Array.from({ length: 20 }, () => get(`${cache.url}/${nameOf(small)}`)));
  assert.ok(answers.every(({ status, body }) => status === 200 && body.equals(small)));
  assert.equal(honest.count(nameOf(small)), 1);
});

test('a leader that leaves takes nothing from its followers', async t => {
  const origin = await slowOrigin(t, large);
  const cache = await startHereCache(t, [origin.url]);
  const leader = read(`${cache.url}/${nameOf(large)}`);
  await origin.give(5 * MiB);
  const reading = await leader;
  const follower = await read(`${cache.url}/${nameOf(large)}`);
  reading.client.destroy();
  await reading.ended;
  await origin.finish();
  assert.ok(await follower.ended);
  assert.ok(follower.bytes().equals(large));
  assert.equal(origin.count(nameOf(large)), 1);
});

test('with nobody left a fetch ends when most of a large object is still to come, and else goes on', async t => {
  const larger = randomBytes(12 * MiB);
  const given: [Buffer, number, boolean][] = [
    [large, MiB, false],
    [large, 5 * MiB, true],
    [larger, 7 * MiB, true],
  ];
  for (const [body, position, goesOn] of given) {
    const origin = await slowOrigin(t, body);
    const cache = await startHereCache(t, [origin.url]);
    const url = `${cache.url}/${nameOf(body)}`;
    const only = read(url);
    await origin.give(position);
    const reading = await only;
    await waitUntil(() => reading.bytes().length === position, 'all that is here is given out');
    reading.client.destroy();
    if (goesOn) {
      await origin.finish();
      await waitUntil(async () => (await Array.fromAsync(objectNames(cache.directory))).length === 1, 'kept');
      assert.equal((await get(url)).headers['x-cache'], 'HIT');
    } else {
      // A client that has closed may be one that only sends no more: it is known by the next bytes for it.
      let more = position;
      await waitUntil(async () => {
        if (!origin.closed()) await origin.give((more += 1 << 14));
        return origin.closed();
      }, 'the origin is let go');
      assert.ok(more < body.length / 2);
      assert.deepEqual(await readdir(join(cache.directory, 'incoming')), []);
      assert.equal(cache.stats().upstreams[0]!.failures, 0, 'that is no failure of the upstream');
    }
    assert.equal(origin.count(nameOf(body)), 1);
  }
});

test('an object of no announced length is served when it is whole and verified', async t => {
  for (const memoryBytes of [64 * MiB, 0]) {
    const origin = await slowOrigin(t, large, false);
    const cache = await startHereCache(t, [origin.url], { memoryBytes });
    const answers = [0, 1, 2].map(() => get(`${cache.url}/${nameOf(large)}`));
    const tail = get(`${cache.url}/${nameOf(large)}`, { headers: { range: 'bytes=-7' } });
    await origin.finish();
    for (const { body, headers } of await Promise.all(answers)) {
      assert.ok(body.equals(large));
      assert.equal(headers['content-length'], String(large.length));
    }
    assert.ok((await tail).body.equals(large.subarray(-7)));
    assert.equal(origin.count(nameOf(large)), 1);
  }
});

test('only-if-cached is answered from here, or from what comes from an upstream, and asks nobody', async t => {
  const origin = await slowOrigin(t, large);
  const cache = await startHereCache(t, [origin.url]);
  const url = `${cache.url}/${nameOf(large)}`;
  const headers = { 'cache-control': 'only-if-cached' };
  const refused = await get(url, { headers });
  assert.equal(refused.status, 504);
  assert.equal(refused.headers['cache-status'], 'pilotage-cache; detail=E_NOT_CACHED');
  assert.equal(origin.counts.size, 0);
  const leader = read(url);
  await origin.give(5 * MiB);
  await leader;
  const joined = await read(url, headers);
  assert.equal(joined.status, 200);
  await origin.finish();
  assert.ok(await joined.ended);
  assert.ok(joined.bytes().equals(large));
  assert.equal((await get(url, { headers })).headers['x-cache'], 'HIT');

  const sibling = await slowOrigin(t, large);
  const between = await startHereCache(t, [origin.url], { siblings: [sibling.url] });
  const taking = read(`${between.url}/${nameOf(large)}`);
  await sibling.give(5 * MiB);
  const { ended } = await taking;
  const back = await get(`${between.url}/${nameOf(large)}`, { headers: { ...headers, range: 'bytes=-10' } });
  assert.equal(back.status, 504, 'what comes from a sibling may be waiting for who asks now');
  await sibling.finish();
  assert.ok(await ended);
});

test('without memory the disk serves; a file is looked at once by each process, and anew when it was replaced', async t => {
  const origin = await upstream(t, serving(small, large));
  const directory = await temporaryDirectory(t);
  const one = await startHereCache(t, [origin.url], { directory, memoryBytes: 0 });
  const two = await startHereCache(t, [origin.url], { directory, memoryBytes: 0 });
  for (const body of [small, large]) {
    assert.ok((await get(`${one.url}/${nameOf(body)}`)).body.equals(body));
    await waitUntil(
      async () => (await Array.fromAsync(objectNames(directory))).includes(sha256(body)),
      'kept',
    );
    const other = await get(`${two.url}/${nameOf(body)}`);
    assert.equal(other.headers['x-cache'], 'HIT', 'found by the other process');
    assert.ok(other.body.equals(body));
    const range = await get(`${two.url}/${nameOf(body)}`, { headers: { range: 'bytes=1000-40000' } });
    assert.ok(range.body.equals(body.subarray(1000, 40_001)));
  }
  assert.equal(origin.count(nameOf(large)), 1);
  const path = objectPath(directory, sha256(small));
  const { mtimeMs } = await stat(path);
  assert.equal(mtimeMs % 1000, 0, 'noting a use leaves it the file that was looked at');
  await get(`${one.url}/${nameOf(small)}`);
  assert.equal((await stat(path)).mtimeMs, mtimeMs);
  const damaged = Buffer.from(await readFile(path));
  damaged[9]! ^= 1;
  await writeFile(path, damaged);
  assert.ok((await get(`${one.url}/${nameOf(small)}`)).body.equals(small));
  assert.equal(origin.count(nameOf(small)), 2);
  await waitUntil(
    () =>
      readFile(path)
        .then(body => body.equals(small))
        .catch(() => false),
    'kept anew',
  );
  await rm(path);
  await writeFile(path, damaged);
  const three = await startHereCache(t, [origin.url], { directory, memoryBytes: 0 });
  await origin.close();
  assert.equal((await get(`${three.url}/${nameOf(small)}`)).status, 502);
  assert.ok(!(await Array.fromAsync(objectNames(directory))).includes(sha256(small)), 'it is gone');
  assert.equal(three.stats().disk.objects, 1);
});

test('a sibling is asked first; what it forges is blamed on it and served to nobody', async t => {
  const origin = await upstream(t, serving(small, large));
  const has = await startHereCache(t, [origin.url]);
  await get(`${has.url}/${nameOf(small)}`);
  const cold = await startHereCache(t, [origin.url], { siblings: [has.url] });
  assert.ok((await get(`${cold.url}/${nameOf(small)}`)).body.equals(small));
  assert.equal(origin.count(nameOf(small)), 1);
  assert.ok((await get(`${cold.url}/${nameOf(large)}`)).body.equals(large), 'which the sibling has not');

  const liar = await upstream(t, (_request, response) => {
    response.writeHead(200, { 'content-length': small.length }).end(randomBytes(small.length));
  });
  const wary = await startHereCache(t, [origin.url], { siblings: [liar.url] });
  assert.ok((await get(`${wary.url}/${nameOf(small)}`)).body.equals(small));
  assert.equal(wary.stats().upstreams.find(({ url }) => url === liar.url)?.blamed, 1);
  const wronged = await startHereCache(t, [origin.url], { siblings: [liar.url] });
  const nowhere = nameOf(randomBytes(10));
  assert.equal((await get(`${wronged.url}/${nowhere}`)).status, 404, 'what no upstream has is not there');
  assert.equal(wronged.stats().upstreams.find(({ url }) => url === liar.url)?.blamed, 1);
});

test('all who ask at once share one look at the disk; what is purged meanwhile is served to nobody', async t => {
  const origin = await upstream(t, serving(small));
  const directory = await temporaryDirectory(t);
  const url = `/${nameOf(small)}`;
  const keeper = new LocalKeeper({ directory, maxBytes: 2 ** 30, log: silentLog });
  await keeper.load();
  const fill = await startHereCache(t, [origin.url], { directory, keeper });
  await get(fill.url + url);
  for (const [look, memoryBytes] of [
    ['load', 64 * MiB],
    ['verify', 0],
  ] as const) {
    await waitUntil(() => keeper.usage().objects === 1, 'it is on disk');
    const cache = await startHereCache(t, [origin.url], { directory, keeper, memoryBytes });
    const before = origin.count(nameOf(small));
    const looks = t.mock.method(DiskTier.prototype, look);
    const answers = await Promise.all(Array.from({ length: 10 }, () => get(cache.url + url)));
    assert.ok(answers.every(({ body, headers }) => body.equals(small) && headers['x-cache'] === 'HIT'));
    if (look === 'load') assert.equal(looks.mock.callCount(), 1);
    looks.mock.restore();
    const reads = t.mock.method(OpenObject.prototype, 'read');
    await get(cache.url + url);
    assert.ok(reads.mock.callCount() <= 1, 'it is not hashed again');
    reads.mock.restore();

    const late = await startHereCache(t, [origin.url], { directory, keeper, memoryBytes });
    const original = DiskTier.prototype[look] as (...given: unknown[]) => Promise<unknown>;
    const purging = t.mock.method(
      DiskTier.prototype,
      look,
      async function (this: DiskTier, ...given: unknown[]) {
        const found = await original.apply(this, given);
        await keeper.purge([sha256(small)]);
        return found;
      },
    );
    assert.ok((await get(late.url + url)).body.equals(small));
    assert.equal(origin.count(nameOf(small)), before + 1);
    purging.mock.restore();
  }
});

test('while memory takes no more, what is on disk is hashed once and not for each who asks', async t => {
  const origin = await upstream(t, serving(small));
  const directory = await temporaryDirectory(t);
  const url = `/${nameOf(small)}`;
  const fill = await startHereCache(t, [origin.url], { directory });
  await get(fill.url + url);
  await waitUntil(() => fill.stats().disk.objects === 1, 'it is on disk');
  t.mock.method(MemoryTier.prototype, 'takes', () => false);
  const cache = await startHereCache(t, [origin.url], { directory });
  const loads = t.mock.method(DiskTier.prototype, 'load');
  for (let times = 0; times < 3; times++) {
    const { body, headers } = await get(cache.url + url);
    assert.ok(body.equals(small));
    assert.equal(headers['x-cache'], 'HIT');
  }
  assert.equal(loads.mock.callCount(), 0);
  assert.equal(cache.stats().memory.objects, 0);
});

test('behind a forger what nothing can hold is passed through with its end held back, as all else', async t => {
  t.mock.method(DiskTier.prototype, 'incoming', () => Promise.resolve(undefined));
  const medium = randomBytes(MiB);
  const honest = await upstream(t, serving(medium, large));
  const liar = await upstream(t, (asked, response) => {
    const forged = Buffer.from(asked.url === `/${nameOf(medium)}` ? medium : large);
    forged[5]! ^= 1;
    response.writeHead(200, { 'content-length': forged.length }).end(forged);
  });
  const cache = await startHereCache(t, [liar.url], { memoryBytes: 0 });
  const both = await startHereCache(t, [liar.url, honest.url], { memoryBytes: 0 });
  assert.equal((await get(`${cache.url}/${nameOf(medium)}`)).status, 502, 'not one byte of a small one');
  for (const range of ['bytes=0-', `bytes=0-${2 * MiB}`]) {
    const got = await get(`${cache.url}/${nameOf(large)}`, { headers: { range } });
    assert.equal(got.complete, false);
  }
  assert.ok((await get(`${both.url}/${nameOf(medium)}`)).body.equals(medium));
  const [blamed] = cache.stats().upstreams;
  assert.equal(blamed!.blamed, 3);
});

test('where the disk fails in the middle of a body it goes on in memory; where at its end, nothing is left', async t => {
  const append = Reflect.get(IncomingFile.prototype, 'append');
  let appended = 0;
  const failing = t.mock.method(
    IncomingFile.prototype,
    'append',
    async function (this: IncomingFile, bytes: Buffer) {
      appended += 1;
      if (appended < 3) return append.call(this, bytes);
      await append.call(this, bytes.subarray(0, 100));
      throw Object.assign(new Error('the disk is broken'), { code: 'EIO' });
    },
  );
  const origin = await slowOrigin(t, large, false);
  const cache = await startHereCache(t, [origin.url]);
  const answer = get(`${cache.url}/${nameOf(large)}`);
  await origin.finish();
  assert.ok((await answer).body.equals(large));
  assert.equal(origin.count(nameOf(large)), 1);
  assert.equal(cache.stats().degraded, 1);
  failing.mock.restore();

  const quick = await upstream(t, serving(small));
  const other = await startHereCache(t, [quick.url]);
  await writeFile(join(other.directory, 'objects', sha256(small).slice(0, 2)), 'no directory');
  assert.ok((await get(`${other.url}/${nameOf(small)}`)).body.equals(small));
  await waitUntil(() => other.stats().degraded === 1, 'it cannot be put in its place');
  await waitUntil(
    async () => (await readdir(join(other.directory, 'incoming'))).length === 0,
    'nothing left',
  );
});

test('three hundred followers of one body cost the memory of one', async t => {
  const body = randomBytes(20 * MiB);
  const origin = await slowOrigin(t, body);
  const cache = await startHereCache(t, [origin.url]);
  const before = process.memoryUsage().arrayBuffers;
  // Two hundred and ninety do not read on, so that the cache holds what is to be sent to them.
  const all = Array.from({ length: 300 }, async (_, index) => {
    const client = request(`${cache.url}/${nameOf(body)}`, { agent: false }).end();
    client.on('error', () => undefined);
    t.after(() => client.destroy());
    const [reply] = (await once(client, 'response')) as [IncomingMessage];
    reply.on('error', () => undefined);
    return { reply, reads: index % 30 === 0 };
  });
  await origin.give(10 * MiB);
  const followers = await Promise.all(all);
  let whole = 0;
  for (const { reply, reads } of followers) {
    if (reads) reply.on('data', () => undefined).on('end', () => (whole += 1));
  }
  await origin.finish();
  await waitUntil(() => whole === 10, 'who reads has all of it', 60);
  const most = process.memoryUsage().arrayBuffers - before;
  assert.ok(most < 160 * MiB, `${Math.round(most / MiB)} MiB`);
  assert.equal(origin.count(nameOf(body)), 1);
});
