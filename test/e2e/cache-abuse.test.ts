import assert from 'node:assert/strict';
import { readdir, readlink } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { exchange, get, rawSocket } from '../lab/cache-attacks.ts';
import { startCacheDaemon } from '../lab/cache-daemons.ts';
import type { ServedCache } from '../lab/cache-daemons.ts';
import { startForger } from '../lab/cache-forger.ts';
import { assertServes } from '../lab/cache-load.ts';
import { makeCacheRelease } from '../lab/cache-release.ts';
import { makeTemporaryDirectory, temporaryDirectory } from '../lab/temporary.ts';
import { waitUntil } from '../lab/wait-until.ts';

const TIMESTAMP = 'metadata/timestamp.json';
const home = await makeTemporaryDirectory('cache-abuse');
after(home.remove);
const release = await makeCacheRelease(home.path);
/** An honest origin that counts. */
const origin = await startForger({ after }, { files: release.files, forge: (_path, body) => body });

const startCache = async (t: TestContext, config: Record<string, unknown> = {}): Promise<ServedCache> =>
  startCacheDaemon(t, { upstreams: [origin.url], directory: await temporaryDirectory(t), config });

/** Whoever comes after an attack gets the right bytes, all of them, and at once. */
const assertServesOthers = (cache: ServedCache, what: string) => assertServes(cache.url, release.names, what);

const closedOf = (sockets: Socket[]) => sockets.filter(socket => socket.destroyed).length;

test('clients that send slowly, nothing, or never read are let go; others are served meanwhile, within bounds', async t => {
  const cache = await startCache(t, {
    headerSeconds: 1,
    idleSeconds: 2,
    maxConnections: 1000,
    memoryBytes: '16MiB',
  });
  await assertServesOthers(cache, 'at first');

  // Headers and bodies that never end.
  const dribbling = Array.from({ length: 50 }, (_, index) => {
    const socket = rawSocket(cache.url);
    const first = index % 2 === 0 ? 'GET /metadata/timestamp.json HTTP/1.1\r\nX: ' : 'G';
    socket.write(first);
    const timer = setInterval(() => socket.write('a'), 100);
    socket.once('close', () => clearInterval(timer));
    socket.resume();
    return socket;
  });
  await assertServesOthers(cache, 'while fifty headers dribble');
  await waitUntil('all that dribble are closed', () => closedOf(dribbling) === 50, { seconds: 8 });
  const body = await exchange(
    cache.url,
    `POST /${TIMESTAMP} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nslow`,
  );
  assert.deepEqual([body.answers.map(({ status }) => status), body.closed], [[405], true]);

  // Nothing at all.
  const idle = Array.from({ length: 2000 }, () => rawSocket(cache.url).resume());
  await waitUntil('those over the limit are refused', () => closedOf(idle) >= 1000, { seconds: 8 });
  await waitUntil('all that say nothing are closed', () => closedOf(idle) === 2000, { seconds: 8 });
  await assertServesOthers(cache, 'after two thousand');

  // Fifty who ask for the runtime, from disk and from memory, and read no more than its header; some in a pipeline.
  const request = get(release.runtime);
  const before = await openSockets(cache);
  const deaf = Array.from({ length: 50 }, (_, index) => {
    const socket = rawSocket(cache.url);
    socket.write(index % 5 === 0 ? request.repeat(100) + get(release.pilot).repeat(100) : request);
    socket.once('data', () => socket.pause());
    return socket;
  });
  await assertServesOthers(cache, 'while fifty do not read');
  const most = await cache.peakMemoryMiB();
  assert.ok(most < 300, `${Math.round(most)} MiB for fifty clients that ask for 9 MB and do not read`);
  await waitUntil('they are let go', async () => (await openSockets(cache)) < before + 5, { seconds: 10 });
  for (const socket of deaf) socket.destroy();
});

/** Sockets that its one worker has open, to whomever. */
async function openSockets(cache: ServedCache): Promise<number> {
  const descriptors = `/proc/${cache.workers()[0]!}/fd`;
  const names = await readdir(descriptors);
  const links = await Promise.all(names.map(name => readlink(join(descriptors, name)).catch(() => '')));
  return links.filter(link => link.startsWith('socket:')).length;
}

test('floods of ranges, of names that are not, and of no-cache cost the origin, the disk and the memory little', async t => {
  const cache = await startCache(t, {});
  const [path, body] = await release.addCold(3_000_000);
  const before = origin.requests;
  const ranges = await Promise.all(
    Array.from({ length: 200 }, (_, index) =>
      exchange(cache.url, get(path, `Range: bytes=${index * 1000}-${index * 1000 + 499}\r\n`), {
        answers: 1,
        quietMs: 10_000,
      }),
    ),
  );
  for (const [index, { answers }] of ranges.entries()) {
    assert.equal(answers[0]!.status, 206);
    assert.ok(answers[0]!.body.equals(body.subarray(index * 1000, index * 1000 + 500)));
  }
  assert.equal(origin.requests - before, 1, 'one whole fetch for two hundred ranges');
  const many = `Range: bytes=${Array.from({ length: 500 }, (_, index) => `${index}-${index}`).join(',')}\r\n`;
  const overlapping = await exchange(cache.url, get(path, many), { answers: 1, quietMs: 5000 });
  assert.ok([200, 416].includes(overlapping.answers[0]!.status));
  assert.ok(overlapping.answers[0]!.body.length <= body.length, 'never more than the object');

  await assertServesOthers(cache, 'at first');
  const beforeNoCache = origin.requests;
  const started = performance.now();
  await floodInPipelines(
    cache.url,
    Array.from({ length: 2000 }, () => get(TIMESTAMP, 'Cache-Control: no-cache\r\n')),
  );
  const seconds = (performance.now() - started) / 1000;
  const forced = origin.requests - beforeNoCache;
  assert.ok(
    forced <= 20 + 5 * seconds,
    `${forced} requests of the origin for 2000 with no-cache in ${seconds} s`,
  );

  const memoryBefore = await cache.peakMemoryMiB();
  const { disk } = await cache.stats();
  const beforeNames = origin.requests;
  const names = Array.from({ length: 10_000 }, (_, index) => nameThatIsNot(index));
  const statuses = await floodInPipelines(
    cache.url,
    names.map(name => get(name)),
  );
  assert.equal(statuses.get(200), undefined);
  const asked = origin.requests - beforeNames;
  assert.ok(asked <= 10_000, `${asked} requests of the origin for 10000 names`);
  const memoryAfter = await cache.peakMemoryMiB();
  assert.ok(memoryAfter - memoryBefore < 150, `${Math.round(memoryAfter - memoryBefore)} MiB for names`);
  const after = await cache.stats();
  assert.equal(after.disk.objects, disk.objects);
  await assertServesOthers(cache, 'after the floods');
});

const nameThatIsNot = (index: number): string => {
  const number = index + 1000;
  const hash = number.toString(16).padStart(64, '0');
  return [
    `metadata/${number}.stable.json`,
    `metadata/${number}.root.json`,
    `metadata/${number}.role-${number}.json`,
    `targets/pilot/x/${hash}.pilot.tar.gz`,
    `targets/other/${number}.txt`,
  ][index % 5]!;
};

/** Sends all requests over twenty connections, fifty in each pipeline. @returns how many answers had which status. */
async function floodInPipelines(url: string, requests: string[]): Promise<Map<number, number>> {
  const statuses = new Map<number, number>();
  const pipelines = Array.from({ length: Math.ceil(requests.length / 50) }, (_, index) =>
    requests.slice(index * 50, index * 50 + 50),
  );
  const worker = async () => {
    for (let pipeline = pipelines.pop(); pipeline !== undefined; pipeline = pipelines.pop()) {
      const { answers } = await exchange(url, pipeline.join(''), {
        answers: pipeline.length,
        quietMs: 10_000,
      });
      assert.equal(answers.length, pipeline.length, 'each request is answered');
      for (const { status } of answers) statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: 20 }, worker));
  return statuses;
}
