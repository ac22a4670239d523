import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { ambiguousRequests, exchange, get } from '../lab/cache-attacks.ts';
import { startCacheDaemon } from '../lab/cache-daemons.ts';
import type { ServedCache } from '../lab/cache-daemons.ts';
import { startForger } from '../lab/cache-forger.ts';
import { assertServes } from '../lab/cache-load.ts';
import { makeCacheRelease } from '../lab/cache-release.ts';
import { makeTemporaryDirectory, temporaryDirectory } from '../lab/temporary.ts';

const TIMESTAMP = 'metadata/timestamp.json';
const home = await makeTemporaryDirectory('cache-attacks');
after(home.remove);
const release = await makeCacheRelease(home.path);
/** An honest origin that counts. */
const origin = await startForger({ after }, { files: release.files, forge: (_path, body) => body });

const startCache = async (t: TestContext): Promise<ServedCache> =>
  startCacheDaemon(t, { upstreams: [origin.url], directory: await temporaryDirectory(t) });

/** Whoever comes after an attack gets the right bytes, all of them, and at once. */
const assertServesOthers = (cache: ServedCache, what: string) => assertServes(cache.url, release.names, what);

/** Nothing is asked of the origin that is not part of a release. */
const strangers = (since: number) => origin.asked.slice(since).filter(path => !release.names.has(path));

test('no request makes the cache ask anybody but its upstreams', async t => {
  const canary = createServer(socket => socket.destroy());
  let visits = 0;
  canary.on('connection', () => (visits += 1));
  await new Promise<void>(resolve => {
    canary.listen(0, resolve);
  });
  t.after(() => canary.close());
  const { port } = canary.address() as AddressInfo;
  const cache = await startCache(t);
  const own = new URL(origin.url);
  const targets = [
    `http://127.0.0.1:${port}/${TIMESTAMP}`,
    `http://localhost:${port}/${TIMESTAMP}`,
    `http://localhost:${own.port}/${TIMESTAMP}`,
    `http://[::1]:${port}/${TIMESTAMP}`,
    `http://[::ffff:127.0.0.1]:${port}/${TIMESTAMP}`,
    `http://2130706433:${port}/${TIMESTAMP}`,
    `http://0x7f.1:${port}/${TIMESTAMP}`,
    `http://127.1:${port}/${TIMESTAMP}`,
    `http://0:${port}/${TIMESTAMP}`,
    `http://${own.host}@127.0.0.1:${port}/${TIMESTAMP}`,
    `http://user:password@${own.host}/${TIMESTAMP}`,
    `http://127.0.0.1:${port}#@${own.host}/${TIMESTAMP}`,
    `http://127.0.0.1:${port}?@${own.host}/${TIMESTAMP}`,
    `http://127.0.0.1:${port}\\@${own.host}/${TIMESTAMP}`,
    `http://${own.host}.localhost:${port}/${TIMESTAMP}`,
    `http://${own.host}%2f@127.0.0.1:${port}/${TIMESTAMP}`,
    `http://169.254.169.254/latest/meta-data/iam/security-credentials/`,
    `http://169.254.169.254/${TIMESTAMP}`,
    `http://metadata.google.internal/${TIMESTAMP}`,
    `http://metadata.google.internal/computeMetadata/v1/`,
    `http://127.0.0.1/${TIMESTAMP}`,
    `http:///${TIMESTAMP}`,
    `http:/${TIMESTAMP}`,
    `http://:${port}/${TIMESTAMP}`,
    `https://${own.host}/${TIMESTAMP}`,
    `https://127.0.0.1:${port}/${TIMESTAMP}`,
    `ftp://127.0.0.1:${port}/${TIMESTAMP}`,
    `gopher://127.0.0.1:${port}/_${TIMESTAMP}`,
    `file:///etc/passwd`,
    `//127.0.0.1:${port}/${TIMESTAMP}`,
    `///127.0.0.1:${port}/${TIMESTAMP}`,
    `127.0.0.1:${port}`,
    `*`,
    `http://${own.host}/../../etc/passwd`,
    `http://${own.host}/${TIMESTAMP}@127.0.0.1:${port}/`,
    `unix:/${cache.directory}/control`,
  ];
  const since = origin.asked.length;
  for (const method of ['GET', 'HEAD', 'CONNECT']) {
    for (const target of targets) {
      const { answers } = await exchange(
        cache.url,
        `${method} ${target} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nX-Forwarded-Host: 127.0.0.1:${port}\r\nConnection: close\r\n\r\n`,
        { answers: 1 },
      );
      // To HEAD, the length is of a body that does not come.
      if (method !== 'HEAD')
        assert.ok(
          [400, 403, 404, 405].includes(answers[0]?.status ?? 0),
          `${method} ${target}: ${answers[0]?.head}`,
        );
    }
  }
  assert.equal(visits, 0);
  assert.deepEqual(strangers(since), []);
  await assertServesOthers(cache, 'afterwards');
  assert.equal(visits, 0);
});

test('ambiguous requests, header bombs and odd methods are refused and poison nothing', async t => {
  const cache = await startCache(t);
  await assertServesOthers(cache, 'at first');
  const [cold] = await release.addCold(1000);
  const since = origin.asked.length;
  for (const [what, bytes] of ambiguousRequests(TIMESTAMP, cold)) {
    const { answers } = await exchange(cache.url, bytes, { quietMs: 150 });
    const statuses = answers.map(({ status }) => status);
    assert.ok(
      statuses.length <= 1 && (statuses[0] ?? 400) >= 400,
      `${what}: ${statuses.join()}, and the connection ends there`,
    );
  }
  const bombs = {
    'a header of 100 KB': get(TIMESTAMP, `X: ${'a'.repeat(100_000)}\r\n`),
    'a thousand fields': get(TIMESTAMP, 'X: y\r\n'.repeat(1000)),
    'a target of 64 KB': get('a'.repeat(65_536)),
    'a method of 64 KB': `${'G'.repeat(65_536)} / HTTP/1.1\r\n\r\n`,
    'a megabyte without a line': 'a'.repeat(1 << 20),
    zeros: Buffer.alloc(65_536).toString('latin1'),
    TLS: '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  };
  for (const [what, bytes] of Object.entries(bombs)) {
    const { answers } = await exchange(cache.url, bytes, { quietMs: 150 });
    assert.ok(
      answers.every(({ status }) => [400, 404, 414, 431].includes(status)) && answers.length <= 1,
      `${what}: ${answers.map(({ status }) => status).join()}`,
    );
  }
  for (const method of [
    'TRACE',
    'CONNECT',
    'PUT',
    'POST',
    'DELETE',
    'PATCH',
    'OPTIONS',
    'PURGE',
    'BAN',
    'get',
  ]) {
    const { answers } = await exchange(
      cache.url,
      `${method} /${TIMESTAMP} HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\n\r\n`,
      {
        answers: 1,
      },
    );
    assert.ok([400, 405, 501].includes(answers[0]?.status ?? 0), method);
    assert.doesNotMatch(answers[0]!.head + answers[0]!.body.toString(), /a=b/);
  }
  assert.ok(!strangers(since).includes(cold), 'no hidden request was taken for one');
  await assertServesOthers(cache, 'afterwards');
});

test('what a client says of itself changes nothing for the next client', async t => {
  const cache = await startCache(t);
  const fields = [
    'Range: bytes=0-9',
    'If-None-Match: *',
    'If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT',
    'If-Match: "x"',
    'Accept-Encoding: gzip',
    'Accept: text/html',
    'Cache-Control: no-store',
    'Cache-Control: max-stale=1000000',
    'Authorization: Basic YTpi',
    'Cookie: a=b',
    'X-Forwarded-Host: evil',
    'X-Original-URL: /metadata/1.root.json',
    'X-Rewrite-URL: /metadata/1.root.json',
    'X-HTTP-Method-Override: HEAD',
    'X-Forwarded-Proto: https',
    'Forwarded: for=1;host=evil',
    'Via: 1.1 evil',
    'Age: 1000000',
    'X-Cache: HIT',
    'Connection: close, cache-control, via, host',
    'Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA',
    'Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13',
    `Via: ${'1.1 x, '.repeat(600)}1.1 y`,
  ];
  const names = [...release.names].slice(0, fields.length);
  for (const [index, field] of fields.entries()) {
    // Each as the first request for a name that nobody has asked for yet, and as one for what is kept.
    for (const path of [names[index % names.length]![0], TIMESTAMP]) {
      await exchange(cache.url, get(path, `${field}\r\n`), { answers: 1, quietMs: 2000 });
    }
    if (index % 5 === 0) await assertServesOthers(cache, field);
  }
  await assertServesOthers(cache, 'afterwards');
  const circle = await exchange(cache.url, get(TIMESTAMP), { answers: 1 });
  const own = /^via: (.*)$/im.exec(circle.answers[0]!.head)![1]!;
  const since = origin.requests;
  const looped = await exchange(cache.url, get(TIMESTAMP, `Cache-Control: no-cache\r\nVia: ${own}\r\n`), {
    answers: 1,
  });
  assert.deepEqual([looped.answers[0]!.status, origin.requests - since], [508, 0]);
});

test('paths that lead elsewhere are not there, nobody upstream is asked, and what operators may do is not for clients', async t => {
  const cache = await startCache(t);
  await assertServesOthers(cache, 'at first');
  const sha256 = /[0-9a-f]{64}/.exec(release.pilot)![0];
  const paths = [
    '../etc/passwd',
    'metadata/../../etc/passwd',
    'metadata/%2e%2e/%2e%2e/etc/passwd',
    'metadata/..%2f..%2fetc%2fpasswd',
    'metadata/%252e%252e/timestamp.json',
    'metadata/..\\timestamp.json',
    'metadata/timestamp.json%00.txt',
    'metadata/timestamp.json\\0',
    'metadata//timestamp.json',
    '/metadata/timestamp.json',
    'metadata/./timestamp.json',
    'metadata/.timestamp.json',
    'metadata/%c0%ae%c0%ae/timestamp.json',
    'metadata/%ff',
    'metadata/%',
    'metadata/timestamp.json/',
    'metadata/timestamp.json;x',
    'metadata/timestamp.json?x=1',
    'metadata/timestamp.json#x',
    'METADATA/timestamp.json',
    `objects/${sha256.slice(0, 2)}/${sha256}`,
    `answers/${sha256}`,
    'incoming/',
    'control',
    'targets/',
    '',
    'purge',
    'verify',
    'drain',
    'restart',
    'stop',
    'config',
    'debug',
    '.well-known/x',
  ];
  const since = origin.asked.length;
  for (const path of paths) {
    for (const method of ['GET', 'POST', 'PUT']) {
      const { answers } = await exchange(
        cache.url,
        `${method} /${path} HTTP/1.1\r\nHost: cache\r\nConnection: close\r\n\r\n`,
        { answers: 1 },
      );
      const { status } = answers[0]!;
      const allowed = method === 'GET' ? [400, 403, 404] : [400, 405];
      assert.ok(allowed.includes(status), `${method} /${path}: ${status}`);
      assert.doesNotMatch(answers[0]!.body.toString('latin1'), /root:|\/tmp\//);
    }
  }
  assert.deepEqual(origin.asked.slice(since), []);
  for (const spelling of ['metadata/%74imestamp.json', 'metadata%2Ftimestamp.json']) {
    const { answers } = await exchange(cache.url, get(spelling), { answers: 1 });
    assert.ok(answers[0]!.status === 404 || answers[0]!.body.equals(release.files.get(TIMESTAMP)!), spelling);
  }
  await assertServesOthers(cache, 'afterwards');

  for (const name of ['', 'objects', 'answers', 'incoming']) {
    const { mode } = await stat(join(cache.directory, name));
    assert.equal(mode & 0o022, 0, `nobody else may write to ${name || 'the directory'}`);
  }
  const control = await stat(join(cache.directory, 'control'));
  assert.ok(control.isSocket());
  assert.equal(control.mode & 0o077, 0, 'the control socket is for its owner');
});
