import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { buildVersion } from '../../../lib/build-version.ts';
import { systemClock } from '../../../lib/clock.ts';
import type { Clock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import { openStorage } from '../../../signing/release/storage/open-storage.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory, temporaryDirectory } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { get } from './web.ts';

let scratch: { path: string; remove(): Promise<void> };
let lab: ReleaseRepositoryLab;
before(async () => {
  scratch = await makeTemporaryDirectory('store-service');
  lab = await makeReleaseRepository({ directory: scratch.path });
});
after(() => scratch.remove());

async function store(
  t: TestContext,
  options: { clock?: Clock; accessLog?: string; from?: 'directory' | 'repository' } = {},
) {
  const { from = 'directory', ...rest } = options;
  const source = from === 'directory' ? { directory: lab.publicDirectory } : { repository: lab.directory };
  const server = await serveStore({ ...source, listen: '127.0.0.1:0', log: silentLog, ...rest });
  t.after(() => server.close(0));
  return server;
}

test('every answer names the version of the program and how long it may be kept', async t => {
  const { url } = await store(t);
  const range = { range: 'bytes=99999999-' };
  const log = await get(`${url}/log.jsonl`);
  for (const answer of [
    await get(`${url}/metadata/1.root.json`),
    await get(`${url}/metadata/9.root.json`),
    await get(`${url}/metadata/1.root.json`, { method: 'HEAD' }),
    await get(`${url}/metadata/1.root.json`, { headers: range }),
    await get(`${url}/log.jsonl`, { headers: { 'if-none-match': log.headers.etag! } }),
    await get(`${url}/metadata/1.root.json`, { method: 'POST' }),
    await get(`${url}/metadata/1.root.json`, { headers: { expect: 'the-unexpected' } }),
    await get(`${url}/nothing`),
    await get(`${url}/livez`),
    await get(`${url}/metrics`),
  ]) {
    assert.equal(answer.headers['x-server-version'], buildVersion, String(answer.status));
    assert.match(answer.headers['cache-control']!, /./, String(answer.status));
  }
  assert.match(buildVersion, /^\d+\.\d+\.\d+\+g[0-9a-f]{12}$/);
  for (const [request, status] of [
    ['nonsense\r\n\r\n', 400],
    ['GET /livez HTTP/1.1\r\n\r\n', 400],
    ['CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', 405],
    [`GET /livez HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
  ] as const) {
    const text = await exchange(url, request);
    assert.match(text, new RegExp(`^HTTP/1.1 ${status} `));
    assert.match(text, /\r\nX-Server-Version: /i);
    assert.match(text, /\r\nCache-Control: no-store/i);
  }
});

for (const from of ['directory', 'repository'] as const) {
  test(`the same bytes, tags and rules from a ${from}; nothing of the repository besides what is public`, async t => {
    const { url } = await store(t, { from });
    const timestamp = await get(`${url}/metadata/timestamp.json`);
    assert.deepEqual(timestamp.body, await readFile(join(lab.publicDirectory, 'metadata/timestamp.json')));
    const log = await get(`${url}/log.jsonl`);
    const bytes = await readFile(join(lab.publicDirectory, 'log.jsonl'));
    assert.deepEqual(log.body, bytes);
    assert.equal(log.headers['cache-control'], 'public, max-age=30');
    assert.equal(log.headers['content-type'], 'application/jsonl');
    const rest = await get(`${url}/log.jsonl`, {
      headers: { range: `bytes=${bytes.length - 10}-`, 'if-range': log.headers.etag! },
    });
    assert.equal(rest.status, 206);
    assert.deepEqual(rest.body, bytes.subarray(-10));
    const [link, pipe] = ['link', 'pipe'].map(name => join(lab.publicDirectory, 'targets', name));
    await symlink(join(lab.directory, 'repository.json'), link!);
    execFileSync('mkfifo', [pipe!]);
    t.after(() => Promise.all([link!, pipe!].map(path => rm(path))));
    for (const path of [
      '/repository.json',
      '/public/metadata/1.root.json',
      '/staged/x',
      '/lock.sqlite',
      '/metadata/%2e%2e/%2e%2e/repository.json',
      '/log.jsonl/..',
      '/metadata/timestamp.json/x',
      '/targets/pilot',
      `/targets/${'a'.repeat(300)}`,
      '/targets/link',
      '/targets/pipe',
    ]) {
      assert.equal((await get(url, { path })).status, 404, path);
    }
  });
}

test('a repository in a database is served as one in a directory, its history too', async t => {
  const directory = await temporaryDirectory(t, 'store-database');
  const address = `sqlite:${join(directory, 'releases.db')}`;
  const storage = await openStorage(address, 'make');
  t.after(() => storage.close());
  const made = await makeReleaseRepository({ directory, storage });
  const server = await serveStore({ repository: address, listen: '127.0.0.1:0', log: silentLog });
  t.after(() => server.close(0));
  const { url } = server;
  assert.deepEqual((await get(`${url}/metadata/1.root.json`)).body, made.rootJson);
  const pilot = (await storage.listAll('public/targets')).find(path => path.includes('pilot-1.0.0.tar.gz'))!;
  const whole = await storage.read(pilot, 1 << 20);
  const target = `${url}/${pilot.slice('public/'.length)}`;
  assert.deepEqual((await get(target)).body, whole);
  const part = await get(target, { headers: { range: 'bytes=5-9' } });
  assert.equal(part.status, 206);
  assert.deepEqual(part.body, whole!.subarray(5, 10));
  const timestamp = await get(`${url}/metadata/timestamp.json`);
  assert.match(timestamp.headers['cache-control']!, /max-age=30, stale-if-error=\d+/);
  const tag = { 'if-none-match': timestamp.headers.etag! };
  assert.equal((await get(`${url}/metadata/timestamp.json`, { headers: tag })).status, 304);
  assert.equal(
    (await get(`${url}/metadata/2.root.json`)).headers['cache-control'],
    'public, max-age=60, stale-if-error=86400',
  );
  assert.equal((await get(`${url}/repository.json`)).status, 404);
  assert.equal((await get(`${url}/readyz`)).status, 200);
  const history = JSON.parse((await get(`${url}/history.json`)).body.toString()) as { verified: boolean };
  assert.equal(history.verified, true);
  await assert.rejects(
    serveStore({ repository: `sqlite:${directory}/none.db`, listen: '127.0.0.1:0', log: silentLog }),
    { code: 'E_REPOSITORY_MISSING' },
  );
});

test('the log has the same tag wherever it is kept, and another when it grows', async t => {
  const [one, two] = [await store(t), await store(t, { from: 'repository' })];
  const tag = async (url: string) => (await get(`${url}/log.jsonl`)).headers.etag;
  const first = await tag(one.url);
  assert.equal(first, await tag(two.url));
  await lab.refresh();
  assert.notEqual(await tag(one.url), first);
  assert.equal(await tag(one.url), await tag(two.url));
});

test('ready while a client can start; else 503 with what is wrong', async t => {
  let nowMs = Date.now();
  let monotonic = 0;
  const clock: Clock = { ...systemClock, now: () => nowMs, monotonic: () => (monotonic += 60_000) };
  const { url } = await store(t, { clock });
  const ready = async () => {
    const { status, body } = await get(`${url}/readyz`);
    return `${status} ${body.toString()}`;
  };
  assert.match(await ready(), /^200 .*"timestamp":\{"version":/);

  nowMs += 25 * 3600 * 1000;
  assert.match(await ready(), /^503 Not ready: E_TUF_EXPIRED: The signature of the role "timestamp" expired/);
  assert.match(await ready(), /release refresh/);
  nowMs -= 25 * 3600 * 1000;

  const snapshot = join(lab.publicDirectory, `metadata/${await versionOf('snapshot', url)}.snapshot.json`);
  await rename(snapshot, `${snapshot}.away`);
  assert.match(await ready(), /^503 Not ready: E_FILE_MISSING: .* public\/metadata\/\d+\.snapshot\.json/);
  await rename(`${snapshot}.away`, snapshot);

  const bytes = await readFile(snapshot);
  await writeFile(snapshot, bytes.toString().replace('"version":', '"version": '));
  assert.match(await ready(), /^503 Not ready: E_TUF/);
  await writeFile(snapshot, bytes);

  const pointer = JSON.parse(
    (await readFile(await targetFile('channels/stable.json', 'stable', url))).toString(),
  ) as { current: { pilot: { path: string } } };
  const pilot = await targetFile(pointer.current.pilot.path, 'releases', url);
  await rename(pilot, `${pilot}.away`);
  assert.match(await ready(), /^503 Not ready: E_FILE_MISSING: .*pilot-1\.0\.0\.tar\.gz/);
  await rename(`${pilot}.away`, pilot);
  assert.match(await ready(), /^200 /);
  assert.equal((await get(`${url}/livez`)).status, 200);
});

test('the store is looked at once for many questions', async t => {
  const { url } = await store(t);
  const timestamp = join(lab.publicDirectory, 'metadata/timestamp.json');
  assert.equal((await get(`${url}/readyz`)).status, 200);
  await rename(timestamp, `${timestamp}.away`);
  t.after(() => rm(`${timestamp}.away`, { force: true }));
  assert.equal((await get(`${url}/readyz`)).status, 200);
  await rename(`${timestamp}.away`, timestamp);
});

test('metrics: requests by kind and status, bytes, connections, time left of every role', async t => {
  const { url } = await store(t);
  await get(`${url}/metadata/timestamp.json`);
  await get(`${url}/metadata/timestamp.json`);
  await get(`${url}/metadata/99.root.json`);
  await get(`${url}/<script>`);
  await exchange(url, 'nonsense\r\n\r\n');
  const { body, headers } = await get(`${url}/metrics`);
  assert.match(headers['content-type']!, /^text\/plain; version=0\.0\.4/);
  const text = body.toString();
  const value = (name: string): number => {
    const line = text.split('\n').find(each => each.startsWith(`${name} `));
    assert.ok(line, `${name} in\n${text}`);
    return Number(line.slice(name.length + 1));
  };
  assert.equal(value('pilotage_store_requests_total{kind="timestamp",status="200"}'), 2);
  assert.equal(value('pilotage_store_requests_total{kind="root",status="404"}'), 1);
  assert.equal(value('pilotage_store_requests_total{kind="none",status="404"}'), 1);
  assert.equal(value('pilotage_store_requests_total{kind="none",status="400"}'), 1);
  const { size } = { size: (await readFile(join(lab.publicDirectory, 'metadata/timestamp.json'))).length };
  assert.ok(value('pilotage_store_sent_bytes_total{kind="timestamp"}') > 2 * size);
  assert.equal(value('pilotage_store_request_seconds_count{kind="timestamp"}'), 2);
  assert.equal(value('pilotage_store_ready'), 1);
  assert.ok(value('pilotage_store_open_connections') >= 1);
  const left = value('pilotage_store_role_expires_seconds{role="timestamp"}');
  assert.ok(left > 23 * 3600 && left <= 24 * 3600, String(left));
  for (const role of ['root', 'targets', 'snapshot', 'releases', 'stable']) {
    assert.ok(value(`pilotage_store_role_expires_seconds{role="${role}"}`) > 86_400, role);
    assert.ok(value(`pilotage_store_role_version{role="${role}"}`) >= 1, role);
  }
  assert.equal(value(`pilotage_store_info{version="${buildVersion}"}`), 1);
});

test('the access log: one line per answer, nothing lost at a rotation, and a client cannot write into it', async t => {
  const directory = await temporaryDirectory(t, 'access-log');
  const file = join(directory, 'access.log');
  const server = await store(t, { accessLog: file });
  const agent = 'x'.repeat(300);
  await get(`${server.url}/metadata/timestamp.json`, {
    headers: { 'user-agent': agent, range: 'bytes=0-9' },
  });
  await exchange(
    server.url,
    'GET /%0a"} HTTP/1.1\r\nHost: x\r\nUser-Agent: \x9b31m"},{\tevil\r\nConnection: close\r\n\r\n',
  );
  await exchange(server.url, 'nonsense\r\n\r\n');
  const rounds = 400;
  const loads = Array.from({ length: 8 }, async () => {
    for (let i = 0; i < rounds / 8; i += 1) await get(`${server.url}/metadata/1.root.json`);
  });
  for (let i = 0; i < 5; i += 1) {
    const old = `${file}.${i}`;
    await waitUntil('the file is there', async () => (await readFile(file)).length > 0);
    await rename(file, old);
    server.reopenLog();
    await get(`${server.url}/livez`);
  }
  await Promise.all(loads);
  await server.close(0);
  const lines: Record<string, unknown>[] = [];
  for (const name of [...Array.from({ length: 5 }, (_, i) => `${file}.${i}`), file]) {
    const text = await readFile(name, 'latin1');
    assert.doesNotMatch(text, /[^\x20-\x7e\n]/, 'no control character, no escape sequence');
    for (const line of text.trimEnd().split('\n').filter(Boolean)) {
      lines.push(JSON.parse(line) as Record<string, unknown>);
    }
  }
  assert.equal(lines.length, 3 + rounds + 5);
  assert.equal(lines.filter(line => line.path === '/metadata/1.root.json').length, rounds);
  const [first, second, third] = lines;
  assert.deepEqual(
    { ...first, time: 0, ms: 0, bytes: 0 },
    {
      time: 0,
      remote: '127.0.0.1',
      method: 'GET',
      path: '/metadata/timestamp.json',
      status: 206,
      bytes: 0,
      ms: 0,
      agent: agent.slice(0, 200),
      range: 'bytes=0-9',
    },
  );
  assert.ok((first!.bytes as number) > 100 && (first!.bytes as number) < 1000);
  assert.match(first!.time as string, /^\d{4}-\d\d-\d\dT.*Z$/);
  assert.equal(second!.path, '/%0a"}');
  assert.equal(second!.agent, '\\u009b31m"},{\\u0009evil');
  assert.deepEqual([third!.method, third!.status], ['-', 400]);
});

test('the bytes of each answer are its own, also when a client sends two requests at once', async t => {
  const file = join(await temporaryDirectory(t, 'access-log'), 'access.log');
  const server = await store(t, { accessLog: file });
  const { size } = await stat(join(lab.publicDirectory, 'metadata/1.root.json'));
  const text = await exchange(
    server.url,
    'GET /metadata/1.root.json HTTP/1.1\r\nHost: x\r\n\r\n' +
      'GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  );
  const first = text.indexOf('HTTP/1.1', 10);
  assert.ok(first > size);
  await server.close(0);
  const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
  const bytes = lines.map(line => (JSON.parse(line) as { bytes: number }).bytes);
  assert.deepEqual(bytes, [first, text.length - first]);
});

test('an access log that cannot be opened is named, and nothing listens', async t => {
  const file = join(await temporaryDirectory(t, 'access-log'), 'no/such/access.log');
  await assert.rejects(
    serveStore({
      directory: lab.publicDirectory,
      listen: '127.0.0.1:0',
      log: silentLog,
      accessLog: file,
    }),
    { code: 'E_FILE_MISSING', where: file },
  );
});

async function versionOf(role: string, url: string): Promise<number> {
  const { body } = await get(`${url}/metadata/timestamp.json`);
  const { signed } = JSON.parse(body.toString()) as {
    signed: { meta: Record<string, { version: number }> };
  };
  if (role === 'snapshot') return signed.meta['snapshot.json']!.version;
  const snapshot = await get(`${url}/metadata/${signed.meta['snapshot.json']!.version}.snapshot.json`);
  const { signed: listed } = JSON.parse(snapshot.body.toString()) as {
    signed: { meta: Record<string, { version: number }> };
  };
  return listed.meta[`${role}.json`]!.version;
}

async function targetFile(path: string, role: string, url: string): Promise<string> {
  const { body } = await get(`${url}/metadata/${await versionOf(role, url)}.${role}.json`);
  const { signed } = JSON.parse(body.toString()) as {
    signed: { targets: Record<string, { hashes: { sha256: string } }> };
  };
  const at = path.lastIndexOf('/');
  const { sha256 } = signed.targets[path]!.hashes;
  return join(lab.publicDirectory, 'targets', path.slice(0, at), `${sha256}.${path.slice(at + 1)}`);
}

/** Sends raw bytes and gathers what comes back until the server closes. */
function exchange(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(text, 'latin1'));
    const chunks: Buffer[] = [];
    socket.setTimeout(15_000, () => socket.destroy(new Error('the server kept the connection open')));
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', error => (chunks.length > 0 ? undefined : reject(error)));
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
  });
}
