import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { truncateSync } from 'node:fs';
import { symlink, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { systemClock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import { get, metadata, plant, sha256, temporaryDirectory } from './web.ts';

const pilot = randomBytes(100_000);
const pilotPath = `targets/pilot/1.0.0/${sha256(pilot)}.pilot-1.0.0.tar.gz`;

async function store(t: TestContext) {
  const directory = await temporaryDirectory(t);
  await plant(directory, {
    'public/metadata/1.root.json': metadata('root', 1),
    'public/metadata/timestamp.json': metadata('timestamp', 7, 1000),
    'public/metadata/3.snapshot.json': metadata('snapshot', 3),
    [`public/${pilotPath}`]: pilot,
    'private/key.pem': 'secret',
    'public/metadata/.3.snapshot.json.abc.tmp': 'half',
  });
  const server = await serveStore({
    directory: join(directory, 'public'),
    listen: '127.0.0.1:0',
    log: silentLog,
    limits: { headerSeconds: 1 },
  });
  t.after(() => server.close(0));
  return { directory, url: server.url };
}

test('every answer says how long it may be kept (code-store 4.4)', async t => {
  const { url } = await store(t);
  const rule = async (path: string) => (await get(`${url}/${path}`)).headers['cache-control'];
  assert.match((await rule('metadata/timestamp.json'))!, /^public, max-age=30, stale-if-error=(99\d|1000)$/);
  assert.equal(await rule('metadata/1.root.json'), 'public, max-age=31536000, immutable, no-transform');
  assert.equal(await rule('metadata/2.root.json'), 'public, max-age=60, stale-if-error=86400');
  assert.equal(await rule('metadata/4.snapshot.json'), 'public, max-age=5');
  assert.equal(await rule('metadata/3.snapshot.json'), 'public, max-age=31536000, immutable, no-transform');
  assert.equal(await rule(pilotPath), 'public, max-age=31536000, immutable, no-transform');
  assert.equal(await rule('nothing'), 'public, max-age=5');
  assert.equal(await rule('livez'), 'no-store');
});

test('no cache may serve a timestamp longer than its signature lasts', async t => {
  const { directory, url } = await store(t);
  await writeFile(join(directory, 'public/metadata/timestamp.json'), metadata('timestamp', 8, 10));
  const soon = (await get(`${url}/metadata/timestamp.json`)).headers['cache-control']!;
  assert.match(soon, /^public, max-age=(9|10), stale-if-error=(9|10)$/);
  await writeFile(join(directory, 'public/metadata/timestamp.json'), metadata('timestamp', 9, -10));
  const over = (await get(`${url}/metadata/timestamp.json`)).headers['cache-control']!;
  assert.equal(over, 'public, max-age=0, stale-if-error=0');
});

test('ETag, 304, HEAD and single ranges', async t => {
  const { url } = await store(t);
  const whole = await get(`${url}/${pilotPath}`);
  assert.equal(whole.status, 200);
  assert.deepEqual(whole.body, pilot);
  assert.equal(whole.headers.etag, `"${sha256(pilot)}"`);
  const again = await get(`${url}/${pilotPath}`, { headers: { 'if-none-match': whole.headers.etag } });
  assert.equal(again.status, 304);
  assert.equal(again.body.length, 0);
  const head = await get(`${url}/${pilotPath}`, { method: 'HEAD' });
  assert.equal(head.headers['content-length'], '100000');
  assert.equal(head.body.length, 0);
  const part = await get(`${url}/${pilotPath}`, { headers: { range: 'bytes=10-19' } });
  assert.equal(part.status, 206);
  assert.equal(part.headers['content-range'], 'bytes 10-19/100000');
  assert.deepEqual(part.body, pilot.subarray(10, 20));
  const tail = await get(`${url}/${pilotPath}`, { headers: { range: 'bytes=-5' } });
  assert.deepEqual(tail.body, pilot.subarray(-5));
  const outside = await get(`${url}/${pilotPath}`, { headers: { range: 'bytes=100000-' } });
  assert.equal(outside.status, 416);
  assert.equal(outside.headers['content-range'], 'bytes */100000');
  for (const range of ['bytes=10-19', 'bytes=100000-']) {
    const told = await get(`${url}/${pilotPath}`, { method: 'HEAD', headers: { range } });
    assert.deepEqual([told.status, told.headers['content-length']], [200, '100000'], 'only GET has ranges');
  }
  const other = await get(`${url}/${pilotPath}`, { headers: { range: 'bytes=0-1', 'if-range': '"old"' } });
  assert.equal(other.status, 200);
  const timestamp = await get(`${url}/metadata/timestamp.json`);
  const unchanged = await get(`${url}/metadata/timestamp.json`, {
    headers: { 'if-none-match': timestamp.headers.etag! },
  });
  assert.equal(unchanged.status, 304);
});

test('a file that is cut while it is sent ends the connection, so that the next answer is not taken for its rest', async t => {
  const { directory } = await store(t);
  const server = await serveStore({
    directory: join(directory, 'public'),
    listen: '127.0.0.1:0',
    log: silentLog,
    // Asked after the file was opened.
    clock: {
      ...systemClock,
      now: () => {
        truncateSync(join(directory, 'public', pilotPath), 1000);
        return Date.now();
      },
    },
  });
  t.after(() => server.close(0));
  const answer = await get(`${server.url}/${pilotPath}`, { headers: { connection: 'keep-alive' } });
  assert.deepEqual([answer.status, answer.headers['content-length']], [200, '100000']);
  assert.deepEqual([answer.complete, answer.body.length], [false, 1000]);
});

test('nothing outside the published tree is served', async t => {
  const { directory, url } = await store(t);
  await symlink(join(directory, 'private/key.pem'), join(directory, 'public/targets/link'));
  for (const path of [
    '/metadata/../../private/key.pem',
    '/metadata/%2e%2e/%2e%2e/private/key.pem',
    '/targets/..%2f..%2fprivate%2fkey.pem',
    '/targets/link',
    '/metadata/.3.snapshot.json.abc.tmp',
    '/metadata/',
    '/targets/pilot',
    `/targets/${'a'.repeat(300)}`,
    '/metadata/timestamp.json/x',
    '//metadata/1.root.json',
    '/metadata/1.root.json%00.png',
    '/metadata/1.root.json?x=1',
    'http://127.0.0.1/metadata/1.root.json',
  ]) {
    const answer = await get(url, { path });
    assert.equal(answer.status, 404, path);
    assert.doesNotMatch(answer.body.toString(), /secret|half/);
  }
});

test('only GET and HEAD; bodies, CONNECT and TRACE are refused', async t => {
  const { url } = await store(t);
  for (const method of ['POST', 'PUT', 'DELETE', 'TRACE', 'OPTIONS']) {
    const answer = await get(`${url}/metadata/1.root.json`, { method });
    assert.equal(answer.status, 405, method);
    assert.equal(answer.headers.allow, 'GET, HEAD');
  }
  const raw = await exchange(url, 'CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n');
  assert.match(raw, /^HTTP\/1\.1 405 /);
  const body = await exchange(
    url,
    'GET /metadata/1.root.json HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc',
  );
  assert.match(body, /^HTTP\/1\.1 400 /);
});

test('a client that dawdles over its header, or sends a huge one, is dropped', async t => {
  const { url } = await store(t);
  const slow = await exchange(url, 'GET /metadata/1.root.json HTTP/1.1\r\nHost: x\r\n');
  assert.match(slow, /^HTTP\/1\.1 408 /);
  const huge = await exchange(url, `GET /livez HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`);
  assert.match(huge, /^HTTP\/1\.1 431 /);
});

test('a directory that holds no repository, and a port in use, are named', async t => {
  const { url } = await store(t);
  const empty = await temporaryDirectory(t);
  await assert.rejects(serveStore({ directory: empty, listen: '127.0.0.1:0', log: silentLog }), {
    code: 'E_FILE_MISSING',
    where: empty,
  });
  const { directory } = await store(t);
  const listen = new URL(url).host;
  await assert.rejects(serveStore({ directory: join(directory, 'public'), listen, log: silentLog }), {
    code: 'E_PORT_IN_USE',
    where: listen,
  });
  await assert.rejects(
    serveStore({ directory: join(directory, 'public'), listen: 'nowhere', log: silentLog }),
    {
      code: 'E_USAGE',
    },
  );
});

/** Sends raw bytes and gathers what comes back until the server closes. */
function exchange(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(text));
    const chunks: Buffer[] = [];
    socket.setTimeout(15_000, () => socket.destroy(new Error('the server kept the connection open')));
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', error => (chunks.length > 0 ? undefined : reject(error)));
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
  });
}
