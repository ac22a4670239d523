import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { open as openFile, readdir, readlink } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { Answered } from '../../../codecache/http/observe-answer.ts';
import { LocalKeeper } from '../../../codecache/proxy/objects/local-keeper.ts';
import type { CacheOptions } from '../../../codecache/proxy/serve-cache.ts';
import { silentLog } from '../../../lib/log.ts';
import { startHereCache } from './here-cache.ts';
import { answersIn, converse } from './raw-http.ts';
import { get, sha256, temporaryDirectory, upstream, waitUntil } from './web.ts';

/** More than the system takes for a client that reads nothing. */
const huge = randomBytes(24 << 20);
const small = randomBytes(500);
const nameOf = (bytes: Buffer): string => `/targets/front/${sha256(bytes)}.bin`;
const hot = (bytes: Buffer, fields = ''): string =>
  `GET ${nameOf(bytes)} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;

/** A cache that holds both objects, and has given both as hits. */
async function warmCache(t: TestContext, limits: CacheOptions['limits'] = {}) {
  const directory = await temporaryDirectory(t);
  const keeper = new LocalKeeper({ directory, maxBytes: 2 ** 30, log: silentLog });
  await keeper.load();
  const answered: Answered[] = [];
  const origin = await upstream(t, (request, response) => {
    const body = [huge, small].find(bytes => nameOf(bytes) === request.url);
    if (body === undefined) response.writeHead(404).end();
    else response.writeHead(200, { 'content-length': body.length }).end(body);
  });
  const cache = await startHereCache(t, [origin.url], {
    directory,
    keeper,
    limits,
    observe: one => answered.push(one),
  });
  for (const body of [huge, small]) for (let i = 0; i < 3; i++) await get(cache.url + nameOf(body));
  answered.length = 0;
  const open = async (): Promise<Socket> => {
    const socket = connect({ port: Number(new URL(cache.url).port), host: '127.0.0.1', allowHalfOpen: true });
    t.after(() => void socket.destroy());
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  };
  return { cache, answered, keeper, open };
}

/** Everything until the other side ends. */
async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

test('large answers to a client that ended its side and reads late come whole, in order, from both paths', async t => {
  const { answered, open } = await warmCache(t);
  const socket = await open();
  socket.pause();
  socket.end(hot(huge) + hot(small) + hot(huge, 'Range: bytes=0-9\r\n') + hot(small));
  await waitUntil(() => socket.bytesRead > 0, 'the first answer has begun');
  assert.equal(answered.length, 0, 'an answer is told when it is written out');
  const answers = answersIn(await readAll(socket));
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 206, 200],
  );
  const bodies = answers.map(({ body }) => body);
  assert.ok(bodies[0]!.equals(huge) && bodies[1]!.equals(small) && bodies[3]!.equals(small));
  await waitUntil(() => answered.length === 4, 'all are told');
  assert.deepEqual(
    answered.map(({ raw = false }) => raw),
    [true, true, false, false],
  );
  assert.ok(answered.every(({ complete }) => complete));
});

test('a client that stops reading is cut after the idle time, and told as cut', async t => {
  const { cache, answered, open } = await warmCache(t, { idleSeconds: 1 });
  const socket = await open();
  socket.pause();
  socket.write(hot(huge));
  await waitUntil(() => answered.length === 1, 'the answer is given up');
  assert.equal(answered[0]!.complete, false);
  assert.equal(answered[0]!.raw, true);
  await waitUntil(() => cache.connections() === 0, 'the connection is closed');
});

test('a client that says nothing, or half a header after a request, is dropped', async t => {
  const { cache, open } = await warmCache(t, { headerSeconds: 1 });
  const [silent, dawdling] = [await open(), await open()];
  dawdling.write(`${hot(small)}GET /`);
  assert.equal((await readAll(silent)).length, 0);
  assert.deepEqual(
    answersIn(await readAll(dawdling)).map(({ status }) => status),
    [200, 408],
  );
  for (const socket of [silent, dawdling]) socket.destroy();
  await waitUntil(() => cache.connections() === 0, 'both are closed');
});

test('while it drains each answer is the last one of its connection, on either path', async t => {
  const { cache, open } = await warmCache(t);
  const [warm, cold, idle] = [await open(), await open(), await open()];
  warm.write(hot(small));
  cold.write(hot(small, 'Range: bytes=0-1\r\n'));
  await Promise.all([once(warm, 'data'), once(cold, 'data')]);
  assert.equal(cache.connections(), 3);
  cache.drain();
  for (const socket of [warm, cold]) {
    socket.write(hot(small));
    const [answer] = answersIn(await readAll(socket));
    assert.equal(answer!.status, 200);
    assert.match(answer!.head, /^connection: close\r$/im);
    socket.destroy();
  }
  await assert.rejects(converse(cache.url, [hot(small)]), /ECONNREFUSED/);
  idle.write(hot(small));
  await once(idle, 'data');
  const started = performance.now();
  await cache.close(10_000);
  assert.ok(performance.now() - started < 5000, 'idle connections do not hold it up');
});

test('closing it closes idle connections, waits for an answer under way, and cuts what takes too long', async t => {
  const { cache, open, answered } = await warmCache(t);
  const [idle, reading, stuck] = [await open(), await open(), await open()];
  idle.write(hot(small));
  await once(idle, 'data');
  for (const socket of [reading, stuck]) {
    socket.pause();
    socket.write(hot(huge));
    await waitUntil(() => socket.bytesRead > 0, 'it has begun');
  }
  const closed = cache.close(1500);
  assert.ok(answersIn(await readAll(reading))[0]!.body.equals(huge));
  await closed;
  const told = answered.filter(({ target }) => target === nameOf(huge));
  assert.deepEqual(
    told.map(({ complete }) => complete),
    [true, false],
  );
  assert.deepEqual(
    told.map(({ bytes }) => bytes > huge.length),
    [true, false],
    'what a cut client was not given is not counted',
  );
});

/** Bodies that this process holds as files. */
async function bodyFiles(): Promise<number> {
  const links = (await readdir('/proc/self/fd')).map(fd => readlink(`/proc/self/fd/${fd}`).catch(() => ''));
  return (await Promise.all(links)).filter(link => link.includes('memfd:pilotage-body')).length;
}

test('a large body that the system sends by itself comes whole to quick and slow readers, purged or not', async t => {
  const { answered, keeper, open } = await warmCache(t);
  const slow = await open();
  slow.pause();
  slow.write(hot(huge));
  const leaving = await open();
  leaving.write(hot(huge));
  await once(leaving, 'data');
  leaving.destroy();
  for (let round = 0; round < 3; round++) {
    const quick = await open();
    quick.end(hot(huge));
    const [answer] = answersIn(await readAll(quick));
    assert.ok(answer!.body.equals(huge), `quick reader, round ${round}`);
  }
  assert.equal(await bodyFiles(), 1, 'node:ffi is there and was used');
  await keeper.purge();
  // Others would get the number of a descriptor that is closed too early.
  const others = await Promise.all(Array.from({ length: 20 }, () => openFile('/dev/zero')));
  slow.end();
  const [late] = answersIn(await readAll(slow));
  assert.ok(late!.body.equals(huge), 'slow reader');
  await waitUntil(async () => (await bodyFiles()) === 0, 'the file goes with its last reader');
  await Promise.all(others.map(file => file.close()));
  await waitUntil(() => answered.length === 5, 'all are told');
  assert.equal(answered.filter(({ complete }) => !complete).length, 1, 'the one that left');
});
