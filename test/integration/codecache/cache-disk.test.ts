import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { objectNames, objectPath } from '../../../codecache/proxy/objects/object-place.ts';
import { onSmallDisk, startOwnCache } from './own-cache.ts';
import { get, sha256, temporaryDirectory, upstream, waitUntil } from './web.ts';

const names = new WeakMap<Buffer, string>();
function nameOf(bytes: Buffer): string {
  const name = names.get(bytes) ?? `targets/pilot/1/${sha256(bytes)}.pilot.tar.gz`;
  names.set(bytes, name);
  return name;
}

const serving =
  (...bodies: Buffer[]) =>
  (request: IncomingMessage, response: ServerResponse) => {
    const body = bodies.find(one => request.url === `/${nameOf(one)}`);
    if (body === undefined) response.writeHead(404).end();
    else response.writeHead(200, { 'content-length': body.length }).end(body);
  };

test('on a full disk objects are served from memory, then passed through; with room again they are kept', async t => {
  const first = randomBytes(1_500_000);
  const fits = randomBytes(1_800_000);
  const huge = randomBytes(5_000_000);
  const late = randomBytes(100_000);
  const origin = await upstream(t, serving(first, fits, huge, late));
  const mount = await temporaryDirectory(t);
  const cache = await startOwnCache(
    t,
    { upstreams: [origin.url], directory: mount, memoryBytes: 6_000_000, maxMemoryObjectBytes: 2_000_000 },
    onSmallDisk(mount, '4m'),
  );
  const seen = `/proc/${cache.child.pid}/root${mount}`;
  await writeFile(join(seen, 'filler'), Buffer.alloc(1 << 20));
  assert.ok((await get(`${cache.url}/${nameOf(first)}`)).body.equals(first));
  await waitUntil(
    async () => (await Array.fromAsync(objectNames(seen))).length === 1,
    'the first is on disk',
  );
  await writeFile(join(seen, 'filler'), Buffer.alloc(3 << 20)).catch(() => undefined);
  for (let round = 0; round < 2; round += 1) {
    assert.ok((await get(`${cache.url}/${nameOf(fits)}`)).body.equals(fits));
    assert.ok((await get(`${cache.url}/${nameOf(huge)}`)).body.equals(huge));
  }
  assert.equal(origin.count(nameOf(fits)), 1, 'held in memory');
  const range = await get(`${cache.url}/${nameOf(huge)}`, { headers: { range: 'bytes=4000000-4000009' } });
  assert.equal(range.status, 206);
  assert.ok(range.body.equals(huge.subarray(4_000_000, 4_000_010)));
  assert.equal(
    (await get(`${cache.url}/${nameOf(huge)}`, { method: 'HEAD' })).headers['content-length'],
    '5000000',
  );
  const together = await Promise.all(Array.from({ length: 20 }, () => get(`${cache.url}/${nameOf(huge)}`)));
  assert.ok(together.every(({ body }) => body.equals(huge)));
  assert.equal(cache.log().match(/the disk of the cache cannot be written/g)?.length, 1, cache.log());
  assert.doesNotMatch(cache.log(), /no answer for a client/);
  assert.deepEqual(await readdir(join(seen, 'incoming')), []);

  await rm(join(seen, 'filler'));
  await cache.ahead(60);
  assert.ok((await get(`${cache.url}/${nameOf(late)}`)).body.equals(late));
  await waitUntil(() => /the disk of the cache works again/.test(cache.log()), 'the disk is back');
  assert.ok((await Array.fromAsync(objectNames(seen))).includes(sha256(late)));
});

test('killed at any point it leaves no wrong object, and the next one starts clean', async t => {
  const bodies = Array.from({ length: 24 }, (_, index) => randomBytes(20_000 + index * 60_000));
  const origin = await upstream(t, serving(...bodies));
  const directory = await temporaryDirectory(t);
  let kept = 0;
  for (let round = 0; round < 5; round += 1) {
    const cache = await startOwnCache(t, {
      upstreams: [origin.url],
      directory,
      memoryBytes: round % 2 ? 0 : 2 ** 27,
    });
    const asked = Promise.all(
      bodies.map(async body => {
        const answer = await get(`${cache.url}/${nameOf(body)}`).catch(() => undefined);
        if (answer?.complete === true && answer.status === 200) assert.ok(answer.body.equals(body));
      }),
    );
    await waitUntil(
      async () => (await Array.fromAsync(objectNames(directory))).length > kept,
      'one more is there',
    );
    await cache.kill();
    await asked;
    const names = await Array.fromAsync(objectNames(directory));
    for (const name of names) assert.equal(sha256(await readFile(objectPath(directory, name))), name);
    kept = Math.min(names.length, bodies.length - 1);
  }
  const last = await startOwnCache(t, { upstreams: [origin.url], directory });
  assert.deepEqual(await readdir(join(directory, 'incoming')), []);
  for (const body of bodies) assert.ok((await get(`${last.url}/${nameOf(body)}`)).body.equals(body));
});
