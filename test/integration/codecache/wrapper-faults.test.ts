import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import type { StoreServer } from '../../../codecache/origin/serve-store.ts';
import { silentLog } from '../../../lib/log.ts';
import { startFaultyFront } from '../../lab/faulty-front.ts';
import type { Fault, FaultRule } from '../../lab/faulty-front.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { bareNodes, shim } from './bare-nodes.ts';
import type { BareNode } from './bare-nodes.ts';
import { newest, readTree, serveTree } from './forgery.ts';
import { temporaryDirectory } from './web.ts';
import { runWrapper } from './wrapper-box.ts';

let lab: ReleaseRepositoryLab;
let store: StoreServer;
let clients: BareNode[];
const home = await makeTemporaryDirectory('wrapper-faults');
after(home.remove);
before(async () => {
  const pilotFiles = { 'ballast.txt': randomBytes(24_000).toString('base64') };
  lab = await makeReleaseRepository({ directory: home.path, pilotFiles });
  store = await serveStore({ directory: lab.publicDirectory, listen: '127.0.0.1:0', log: silentLog });
  clients = (await bareNodes(home.path)).slice(0, 2);
});
after(() => store.close(0));

const stallSeconds = 1;

async function front(t: TestContext, rules: FaultRule[], upstream = store.url) {
  const started = await startFaultyFront({ upstream, rules });
  t.after(() => started.close());
  return started;
}

async function options(t: TestContext, caches: string[], client: BareNode = clients[0]!) {
  const directory = await temporaryDirectory(t);
  return {
    directory: join(directory, 'box'),
    store: join(directory, 'store'),
    rootJson: lab.rootJson,
    caches,
    shell: client.shell,
    environment: { PATH: client.path, PILOTAGE_STALL_SECONDS: `${stallSeconds}` },
  };
}

interface FaultCase {
  name: string;
  path?: RegExp;
  fault: Fault;
  /** The code by which the bad cache is named; none: it serves all the same. */
  code?: string;
}

const pilot = /\/[0-9a-f]+\.pilot-/;
const timestamp = /timestamp\.json/;
const faultCases: FaultCase[] = [
  {
    name: 'every transfer cut',
    path: pilot,
    fault: { kind: 'truncate', afterBytes: 10 },
    code: 'E_CACHE_UNREACHABLE',
  },
  {
    name: 'metadata cut',
    path: /snapshot/,
    fault: { kind: 'truncate', afterBytes: 10 },
    code: 'E_CACHE_UNREACHABLE',
  },
  {
    name: 'a few bytes too many',
    path: pilot,
    fault: { kind: 'oversize', byBytes: 3 },
    code: 'E_TARGET_LENGTH',
  },
  {
    name: 'far too many bytes',
    path: pilot,
    fault: { kind: 'oversize', byBytes: 1 << 20 },
    code: 'E_TARGET_LENGTH',
  },
  { name: 'wrong bytes', path: pilot, fault: { kind: 'flip', at: 1000 }, code: 'E_TARGET_HASH' },
  {
    name: "another object's bytes",
    path: pilot,
    fault: { kind: 'other-object', path: 'metadata/1.root.json' },
    code: 'E_TARGET_LENGTH',
  },
  { name: 'a login page for all', fault: { kind: 'garbage' }, code: 'E_TUF_FORMAT' },
  { name: 'a login page for a pilot', path: pilot, fault: { kind: 'garbage' }, code: 'E_TARGET_LENGTH' },
  { name: 'status 500', fault: { kind: 'status', status: 500 }, code: 'E_CACHE_UNREACHABLE' },
  {
    name: 'status 503 for a pilot',
    path: pilot,
    fault: { kind: 'status', status: 503 },
    code: 'E_CACHE_UNREACHABLE',
  },
  {
    name: 'status 429',
    fault: { kind: 'status', status: 429, retryAfterSeconds: 3600 },
    code: 'E_CACHE_UNREACHABLE',
  },
  { name: 'closed after each answer', fault: { kind: 'close' } },
  { name: 'HTTP/1.0 without lengths', fault: { kind: 'http-1.0' } },
  { name: '10 kB a second', fault: { kind: 'trickle', bytesPerSecond: 10_000 } },
  {
    name: 'a stall before the first byte',
    path: timestamp,
    fault: { kind: 'stall', afterBytes: 0 },
    code: 'E_CACHE_UNREACHABLE',
  },
  {
    name: 'a stall within',
    path: pilot,
    fault: { kind: 'stall', afterBytes: 5000 },
    code: 'E_CACHE_UNREACHABLE',
  },
  { name: 'gzip by a middlebox', fault: { kind: 'gzip' }, code: 'E_TUF_FORMAT' },
  {
    name: 'gzip by a middlebox, of pilots alone',
    path: pilot,
    fault: { kind: 'gzip' },
    code: 'E_TARGET_LENGTH',
  },
  { name: 'closed without an answer', fault: { kind: 'hang-up' }, code: 'E_CACHE_UNREACHABLE' },
];

const ofBytes = ['flip', 'other-object', 'garbage'];

test('whatever one path does wrong, the next serves and the first is named; slow is not wrong', async t => {
  const one = (client: BareNode, { name, path, fault, code }: FaultCase) =>
    t.test(`${client.name}: ${name}`, async t => {
      const bad = await front(t, [{ ...(path && { path }), fault }]);
      const begun = Date.now();
      const run = await runWrapper(await options(t, [bad.url, store.url], client));
      const seconds = (Date.now() - begun) / 1000;
      assert.equal(run.exit, 0, run.stderr);
      assert.equal(run.result.cache, code === undefined ? bad.url : store.url, run.stderr);
      if (code === undefined) assert.equal(run.result.message, 'the pilot ended');
      else {
        assert.match(run.result.message, new RegExp(`${code} at ${bad.url}`));
      }
      assert.ok(seconds < 30, `${seconds} s: nobody waited for the bad path`);
    });
  const [curl, wget] = clients;
  const all = [
    ...faultCases.map(fault => [curl!, fault] as const),
    // What is wrong with the bytes alone is found in the same way whoever brought them.
    ...faultCases.filter(({ fault }) => !ofBytes.includes(fault.kind)).map(fault => [wget!, fault] as const),
  ];
  while (all.length > 0) await Promise.all(all.splice(0, 6).map(([client, fault]) => one(client, fault)));
});

test('a host that takes connections and says nothing is left after the stall', async t => {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const sockets = new Set<{ destroy: () => void }>();
  server.on('connection', socket => sockets.add(socket.on('error', () => undefined)));
  const silent = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const client of clients) {
    const run = await runWrapper(await options(t, [silent, store.url], client));
    assert.equal(run.result.cache, store.url, run.stderr);
  }
  for (const socket of sockets) socket.destroy();
});

test('a transfer that was cut goes on where it ended, on the same cache', async t => {
  const bad = await front(t, [{ path: pilot, times: 2, fault: { kind: 'truncate', afterBytes: 4000 } }]);
  const run = await runWrapper(await options(t, [bad.url]));
  assert.equal(run.exit, 0, run.stderr);
  const ranges = bad.requests.filter(({ path }) => pilot.test(path)).map(({ range }) => range);
  assert.deepEqual(ranges, [undefined, 'bytes=4000-', 'bytes=8000-']);
});

test('bytes that a cache put before the rest of a transfer do not pass', async t => {
  const bad = await front(t, [
    { path: pilot, times: 1, fault: { kind: 'truncate', afterBytes: 4000 } },
    { path: pilot, times: 1, fault: { kind: 'flip', at: 100 } },
  ]);
  const run = await runWrapper(await options(t, [bad.url, store.url]));
  assert.equal(run.exit, 0, run.stderr);
  assert.match(run.result.message, /E_TARGET_HASH/);
});

test('the only cache says when to come again: that is waited for once, and for 30 s at the most', async t => {
  for (const [retryAfterSeconds, waited] of [
    [7, '7'],
    [86_400, '30'],
  ] as const) {
    for (const client of clients) {
      const rule = { path: timestamp, fault: { kind: 'status', status: 429, retryAfterSeconds } as const };
      const once = await front(t, [{ ...rule, times: 1 }]);
      const own = await options(t, [once.url], client);
      const tools = join(own.directory, 'tools');
      await mkdir(tools, { recursive: true });
      await shim(tools, 'sleep', 'echo "$1" >>slept');
      const environment = { ...own.environment, PATH: `${tools}:${client.path}` };
      const run = await runWrapper({ ...own, environment });
      assert.equal(run.exit, 0, run.stderr);
      assert.equal(await readFile(join(own.directory, 'slept'), 'utf8'), `${waited}\n`);
      const ever = await front(t, [rule]);
      const busy = await runWrapper({ ...own, caches: [ever.url], environment });
      assert.deepEqual([busy.exit, busy.result.code], [4, 'E_CACHE_UNREACHABLE']);
      assert.equal(ever.count(timestamp), 2);
    }
  }
});

test('a path that is behind is passed by once a node knows better', async t => {
  const old = await readTree(lab.publicDirectory);
  const stale = await serveTree(t, () => old);
  await lab.refresh();
  const own = await options(t, [store.url]);
  assert.equal((await runWrapper(own)).exit, 0);
  const run = await runWrapper({ ...own, caches: [stale.url, store.url] });
  assert.equal(run.result.cache, store.url, run.stderr);
  assert.match(run.result.message, new RegExp(`E_TUF_STALE at ${stale.url}`));
  assert.equal(stale.count('metadata/timestamp.json'), 2, 'once more past the cache');
  const alone = await runWrapper({ ...own, caches: [stale.url] });
  assert.deepEqual([alone.exit, alone.result.code], [3, 'E_TUF_STALE']);
  assert.ok(newest(old, 'timestamp').version > 0);
});

test('any cache of a group may be the first, and groups keep their order', async t => {
  const [a, b, last] = [await front(t, []), await front(t, []), await front(t, [])];
  const own = await options(t, [`${a.url}|${b.url}`, last.url]);
  for (let runs = 0; runs < 30 && (a.requests.length === 0 || b.requests.length === 0); runs += 1) {
    const run = await runWrapper(own);
    assert.ok([a.url, b.url].includes(run.result.cache));
  }
  assert.ok(a.requests.length > 0 && b.requests.length > 0, 'both were first at some time');
  assert.equal(last.requests.length, 0);
  await a.close();
  await b.close();
  assert.equal((await runWrapper(own)).result.cache, last.url);
});

test('a disk that fills up is named as such, with either client and while unpacking', async t => {
  for (const [name, script] of [
    ['curl', 'exec REAL -q -o /dev/full "$@"'],
    ['wget', 'exec REAL "$@" -O /dev/full'],
    ['tar', 'echo "tar: pilot.mjs: Cannot write: No space left on device" >&2\nexit 2'],
  ] as const) {
    const client = clients[name === 'wget' ? 1 : 0]!;
    const own = await options(t, [store.url], client);
    const tools = join(own.directory, 'tools');
    await mkdir(tools, { recursive: true });
    await shim(tools, name, script);
    const run = await runWrapper({
      ...own,
      environment: { ...own.environment, PATH: `${tools}:${client.path}` },
    });
    assert.deepEqual([run.exit, run.result.code], [2, 'E_STORE_WRITE'], `${name}: ${run.stderr}`);
  }
});

test('a stall time that is no number of seconds is refused', async t => {
  for (const seconds of ['0', '1.5', '-1', '10000', 'x']) {
    const own = await options(t, [store.url]);
    const environment = { ...own.environment, PILOTAGE_STALL_SECONDS: seconds };
    const run = await runWrapper({ ...own, environment });
    assert.deepEqual([run.exit, run.result.code], [2, 'E_BOOTSTRAP'], seconds);
  }
});
