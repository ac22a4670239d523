import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startDaemon } from '../../lab/daemon.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { get, metadata, sha256, upstream } from './web.ts';

const program = fileURLToPath(new URL('../../../pilotage.ts', import.meta.url));
const bodies = [randomBytes(3000), randomBytes(4000)];
const [first, second] = bodies.map(body => sha256(body)) as [string, string];
const nameOf = (sha: string) => `targets/pilot/1/${sha}.pilot.tar.gz`;

const run = (...args: string[]) => {
  const done = spawnSync(process.execPath, [program, 'cache', ...args], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status: done.status, stdout: done.stdout, stderr: done.stderr };
};

function answer(asked: IncomingMessage, response: ServerResponse): void {
  const path = (asked.url ?? '').slice(1);
  const object = bodies.find(body => path === nameOf(sha256(body)));
  if (object !== undefined)
    return void response
      .writeHead(200, { 'cache-control': 'public, max-age=31536000, immutable' })
      .end(object);
  if (path !== 'metadata/2.snapshot.json')
    return void response.writeHead(404, { 'cache-control': 'max-age=5' }).end();
  response
    .writeHead(200, { 'cache-control': 'public, max-age=3600', etag: '"s"' })
    .end(metadata('snapshot', 2));
}

async function cacheOf(t: TestContext, options: { dir?: string; processes?: number } = {}) {
  const origin = await upstream(t, answer);
  const directory = options.dir ?? join(await temporaryDirectory(t, 'cache-operations'), 'cache');
  const processes = String(options.processes ?? 2);
  const daemon = await startDaemon({
    name: 'cache',
    command: process.execPath,
    args: [
      program,
      'cache',
      'serve',
      '--upstream',
      origin.url,
      '--dir',
      directory,
      '--listen',
      '127.0.0.1:0',
    ].concat('--processes', processes),
    ready: ({ stdout }) => stdout().includes('"ready":true'),
  });
  t.after(() => daemon.stop());
  const { url } = JSON.parse(daemon.stdout()) as { url: string };
  return { ...daemon, url, directory, origin };
}

const objectFile = (directory: string, sha: string) => join(directory, 'objects', sha.slice(0, 2), sha);

test('stats and metrics are those of all processes, whichever answers', async t => {
  const cache = await cacheOf(t);
  for (let count = 0; count < 40; count += 1) await get(`${cache.url}/${nameOf(first)}`);
  const sent = (await get(`${cache.url}/metrics`)).body.toString();
  const sum = [...sent.matchAll(/^pilotage_cache_requests_total\{kind="hash-named".*\} (\d+)$/gm)];
  assert.equal(
    sum.reduce((all, [, count]) => all + Number(count), 0),
    40,
  );
  assert.match(sent, /^pilotage_cache_processes 2$/m);
  assert.match(sent, /^pilotage_cache_disk_objects 1$/m);
  assert.ok(
    sent.includes(`pilotage_cache_upstream_requests_total{upstream="${cache.origin.url}",role="upstream"}`),
  );
  const byUrl = run('stats', '--url', cache.url);
  assert.match(byUrl.stdout, /, 2 processes\n40 answers, /);
  const all = JSON.parse(run('stats', '--dir', cache.directory, '--processes', '--json').stdout) as {
    total: { hits: number; misses: number; joined: number };
    processes: { pid: number; stats: { hits: number } }[];
  };
  assert.equal(all.total.hits + all.total.misses + all.total.joined, 40);
  assert.equal(all.processes.length, 2);
  const { mode } = await stat(join(cache.directory, 'control'));
  assert.equal(mode & 0o777, 0o600);
});

test('drain takes it out of service and back; /readyz and /drainz of every process say so, requests are answered', async t => {
  const cache = await cacheOf(t);
  const statuses = async (path: string) =>
    new Set(
      await Promise.all(Array.from({ length: 12 }, async () => (await get(`${cache.url}${path}`)).status)),
    );
  const both = async (ready: number, drained: number) => {
    assert.deepEqual(await statuses('/readyz'), new Set([ready]));
    await waitUntil('drained or not', async () => (await get(`${cache.url}/drainz`)).status === drained);
    assert.equal((await get(`${cache.url}/${nameOf(first)}`)).status, 200);
    assert.equal((await get(`${cache.url}/livez`)).status, 200);
  };
  await both(200, 503);
  assert.match(run('drain', '--dir', cache.directory).stdout, /^out of service/);
  await both(503, 200);
  const { checks } = JSON.parse((await get(`${cache.url}/readyz`)).body.toString()) as {
    checks: { name: string; ok: boolean }[];
  };
  assert.deepEqual(
    checks.filter(({ ok }) => !ok).map(({ name }) => name),
    ['service'],
  );
  run('restart', '--dir', cache.directory);
  await both(503, 200);
  assert.equal(run('drain', '--dir', cache.directory, '--undo').stdout, 'in service again\n');
  await both(200, 503);
});

test('purge removes an object, metadata, or all, from disk and from the memory of every process', async t => {
  const cache = await cacheOf(t);
  const { origin, directory } = cache;
  const ask = async (path: string) => {
    for (let count = 0; count < 8; count += 1) assert.equal((await get(`${cache.url}/${path}`)).status, 200);
  };
  const fetched = (path: string) => origin.count(path);
  await ask(nameOf(first));
  await ask(nameOf(second));
  const before = [fetched(nameOf(first)), fetched(nameOf(second))];
  assert.equal(
    run('purge', '--dir', directory, '--object', first).stdout,
    'removed 1 objects and 0 metadata answers\n',
  );
  await assert.rejects(stat(objectFile(directory, first)));
  await ask(nameOf(first));
  await ask(nameOf(second));
  assert.ok(fetched(nameOf(first)) > before[0]!);
  assert.equal(fetched(nameOf(second)), before[1]);

  await ask('metadata/2.snapshot.json');
  const snapshots = fetched('metadata/2.snapshot.json');
  assert.equal(run('purge', '--dir', directory, '--metadata').status, 0);
  await waitUntil('it is asked for again', async () => {
    await ask('metadata/2.snapshot.json');
    return fetched('metadata/2.snapshot.json') > snapshots;
  });
  const purged = JSON.parse(run('purge', '--dir', directory, '--all', '--json').stdout) as {
    objects: number;
    answers: number;
  };
  assert.equal(purged.objects, 2);
  assert.ok(purged.answers >= 1);
});

test('verify finds what is damaged, running and stopped, removes and names it, and exits with 1', async t => {
  const cache = await cacheOf(t, { processes: 1 });
  const { directory } = cache;
  for (const sha of [first, second]) await get(`${cache.url}/${nameOf(sha)}`);
  const damage = (sha: string) => writeFile(objectFile(directory, sha), Buffer.alloc(3000));
  await waitUntil('both are on disk', async () => (await stat(objectFile(directory, second))).isFile());
  assert.deepEqual(JSON.parse(run('verify', '--dir', directory, '--json').stdout), {
    objects: 2,
    bytes: 7000,
    damaged: [],
    unreadable: [],
  });
  await damage(first);
  const running = run('verify', '--dir', directory);
  assert.equal(running.status, 1, running.stderr);
  assert.match(running.stdout, new RegExp(`^damaged, removed: ${first}$`, 'm'));
  assert.match(running.stderr, /^E_OBJECTS_DAMAGED: /);
  await assert.rejects(stat(objectFile(directory, first)));
  assert.ok((await get(`${cache.url}/${nameOf(first)}`)).body.equals(bodies[0]!));

  await cache.stop();
  await damage(second);
  const stopped = run('verify', '--dir', directory, '--json');
  assert.equal(stopped.status, 1);
  assert.deepEqual((JSON.parse(stopped.stdout) as { damaged: string[] }).damaged, [second]);
  assert.equal(run('verify', '--dir', directory).status, 0);
  assert.match(run('purge', '--dir', directory, '--all').stdout, /^removed 1 objects/);
});

test('a cache in a directory with a long name, after one that was killed: the old socket is replaced', async t => {
  const dir = join(await temporaryDirectory(t, 'cache-operations'), 'd'.repeat(120));
  const dead = await cacheOf(t, { dir, processes: 1 });
  await dead.kill();
  assert.ok((await stat(join(dir, 'control'))).isSocket());
  assert.equal(run('stats', '--dir', dir).status, 4);
  await cacheOf(t, { dir, processes: 1 });
  assert.match(run('stats', '--dir', dir).stdout, /1 process\n/);
});

test('wrong calls are answered with what, where and the fix', async t => {
  const directory = await temporaryDirectory(t, 'cache-operations');
  const none = join(directory, 'none');
  await mkdir(join(directory, 'empty'));
  for (const [args, status, message] of [
    [['stats'], 2, /E_USAGE.*--url, --dir/],
    [['stats', '--url', 'http://x', '--dir', none], 2, /E_USAGE/],
    [['stats', '--dir', none], 4, /E_UNREACHABLE.*No cache runs/],
    [['drain', '--dir', none], 4, /E_UNREACHABLE/],
    [['restart', '--dir', none], 4, /E_UNREACHABLE/],
    [['purge', '--dir', none], 2, /E_USAGE.*--object, --metadata, --all/],
    [['purge', '--dir', none, '--object', 'abc'], 2, /E_USAGE.*64 hexadecimal/],
    [['stats', '--url', 'cache1:8091'], 2, /E_USAGE.*http: or https:.*cache1:8091/],
    [['verify', '--dir', none], 2, /E_FILE_MISSING: No cache ever ran/],
    [['verify', '--dir', join(directory, 'empty')], 2, /E_FILE_MISSING: No cache ever ran.*no objects/],
    [['purge', '--dir', join(directory, 'empty'), '--all'], 2, /E_FILE_MISSING/],
  ] as const) {
    const done = run(...args);
    assert.equal(done.status, status, `${args.join(' ')}: ${done.stderr}`);
    assert.match(done.stderr.replaceAll('\n', ' '), message);
    assert.match(done.stderr, /\n {2}fix: /);
  }
  await assert.rejects(readFile(none));
});
