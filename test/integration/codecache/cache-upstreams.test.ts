import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { CacheOptions } from '../../../codecache/proxy/serve-cache.ts';
import { systemClock } from '../../../lib/clock.ts';
import type { Clock } from '../../../lib/clock.ts';
import { startFaultyFront } from '../../lab/faulty-front.ts';
import type { Fault, FaultyFront } from '../../lab/faulty-front.ts';
import { freePort } from '../../lab/ports.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { startHereCache } from './here-cache.ts';
import { get, metadata, sha256, upstream } from './web.ts';

const CLIENTS = 50;
/** Short, so that what hangs is found soon; a slow origin sends a byte in less. */
const TIMEOUTS = { connectSeconds: 1, headerSeconds: 1, stallSeconds: 1, totalSeconds: 30 };

type Cache = Awaited<ReturnType<typeof cacheFor>>;

async function cacheFor(t: TestContext, upstreams: string[], more: Partial<CacheOptions> = {}) {
  const server = await startHereCache(t, upstreams, {
    maxObjectBytes: 2 ** 20,
    timeouts: TIMEOUTS,
    ...more,
  });
  const statsOf = (url: string) => server.stats().upstreams.find(stats => stats.url === url)!;
  return { ...server, statsOf };
}

const TIMESTAMP = 'metadata/timestamp.json';
const timestamp = Buffer.from(metadata('timestamp', 1));

/** What an origin has: objects of several sizes, and metadata. A cache asks for the timestamp by itself. */
class Contents {
  readonly files = new Map<string, Buffer>();
  #version = 0;

  /** New names, which no cache has. */
  renew(): this {
    this.files.clear();
    for (const bytes of [20, 1000, 20_000, 20_000, 50_000, 50_000, 300_000, 700_000]) {
      const body = randomBytes(bytes);
      this.files.set(`targets/pilot/1/${sha256(body)}.pilot.tar.gz`, body);
    }
    this.#version += 1;
    const { files } = this;
    files.set(`metadata/${this.#version}.snapshot.json`, Buffer.from(metadata('snapshot', this.#version)));
    files.set(`metadata/${this.#version}.targets.json`, Buffer.from(metadata('targets', this.#version)));
    return this;
  }

  has(path: string): boolean {
    return path === TIMESTAMP || this.files.has(path);
  }

  readonly handler = (request: IncomingMessage, response: ServerResponse): void => {
    const path = (request.url ?? '').slice(1);
    const body = path === TIMESTAMP ? timestamp : this.files.get(path);
    if (body === undefined) response.writeHead(404, { 'cache-control': 'public, max-age=5' }).end();
    else
      response
        .writeHead(200, {
          'cache-control': 'public, max-age=31536000, immutable',
          'content-length': body.length,
        })
        .end(body);
  };
}

interface Outcome {
  right: number;
  /** Text of each answer that is an error. */
  refused: string[];
  /** Answers that ended before their announced length: no client takes them for whole. */
  cut: number;
}

const ALL_RIGHT: Outcome = { right: CLIENTS, refused: [], cut: 0 };

/** So many clients at once, each asks for one name; a wrong byte anywhere fails the test. */
async function storm(cache: Cache, { files }: Contents, clients = CLIENTS): Promise<Outcome> {
  const names = [...files.keys()];
  const outcome: Outcome = { right: 0, refused: [], cut: 0 };
  await Promise.all(
    Array.from({ length: clients }, async (_, i) => {
      const name = names[i % names.length]!;
      const expected = files.get(name)!;
      const { status, body, complete } = await get(`${cache.url}/${name}`);
      if (status !== 200) {
        outcome.refused.push(`${status} ${body.toString()}`);
        return;
      }
      assert.ok(body.equals(expected.subarray(0, body.length)), `wrong bytes of ${name}`);
      if (complete && body.length === expected.length) outcome.right += 1;
      else {
        assert.equal(complete, false, `${name} looks whole but is not`);
        outcome.cut += 1;
      }
    }),
  );
  return outcome;
}

/** Nothing of a storm is left: no request, none that waits, no half-written file. */
async function assertCalm(cache: Cache): Promise<void> {
  await waitUntil('all requests to upstreams have ended', () =>
    cache.stats().upstreams.every(({ running, queued }) => running === 0 && queued === 0),
  );
  await waitUntil(
    'nothing half-written is left',
    async () => (await readdir(join(cache.directory, 'incoming'))).length === 0,
  );
}

async function frontOf(t: TestContext, origin: string, fault: Fault): Promise<FaultyFront> {
  const front = await startFaultyFront({ upstream: origin, rules: [{ fault }] });
  t.after(() => front.close());
  return front;
}

const FAILING: Record<string, Fault> = {
  silent: { kind: 'silence' },
  'half a header': { kind: 'half-header' },
  'half a body': { kind: 'stall', afterBytes: 400 },
  cut: { kind: 'truncate', afterBytes: 400 },
  'hung up': { kind: 'hang-up' },
  500: { kind: 'status', status: 500 },
  429: { kind: 'status', status: 429, retryAfterSeconds: 1 },
  503: { kind: 'status', status: 503, retryAfterSeconds: 1 },
  gzip: { kind: 'gzip' },
};
const FORGING: Record<string, Fault> = {
  flipped: { kind: 'flip', at: 500_000 },
  oversize: { kind: 'oversize', byBytes: 10 },
  garbage: { kind: 'garbage' },
};

test('beside an honest upstream no client notices a bad one, and the bad one is named', async t => {
  const contents = new Contents().renew();
  const honest = await upstream(t, contents.handler);
  for (const [what, fault] of Object.entries({ ...FAILING, ...FORGING })) {
    const bad = await frontOf(t, honest.url, fault);
    const cache = await cacheFor(t, [bad.url, honest.url]);
    assert.deepEqual(await storm(cache, contents), ALL_RIGHT, what);
    await assertCalm(cache);
    const [named, other] = [cache.statsOf(bad.url), cache.statsOf(honest.url)];
    if (what in FORGING) {
      assert.ok(named.blamed > 0 && named.blames.length > 0 && !named.trusted, what);
      for (const blame of named.blames) assert.ok(contents.has(blame.object), what);
    } else {
      assert.ok(named.failures > 0, what);
      assert.ok(contents.has(named.lastFailure!.object), what);
    }
    assert.deepEqual([other.failures, other.blamed], [0, 0], what);
  }
});

test('alone, a bad upstream gives no client a wrong byte, is named to each, and is used again when it is well', async t => {
  const contents = new Contents();
  const honest = await upstream(t, contents.handler);
  for (const [what, fault] of Object.entries({ ...FAILING, ...FORGING })) {
    contents.renew();
    const bad = await frontOf(t, honest.url, fault);
    const cache = await cacheFor(t, [bad.url]);
    const { right, refused, cut } = await storm(cache, contents);
    assert.equal(right + refused.length + cut, CLIENTS);
    assert.ok(refused.length > 0, what);
    for (const text of refused)
      assert.match(text, new RegExp(`^50[234] E_UPSTREAM_\\w+: .*${bad.url}/`), what);
    await assertCalm(cache);
    bad.rules = [];
    // Whatever was judged: those who ask again are served, at the latest when the rest is over that it asked for itself.
    await waitUntil(
      `${what}: everybody is served`,
      async () => (await storm(cache, contents, contents.files.size)).refused.length === 0,
    );
    assert.deepEqual(await storm(cache, contents), ALL_RIGHT, what);
    const stats = cache.statsOf(bad.url);
    assert.ok(stats.healthy, what);
    assert.ok(what in FORGING ? stats.blamed > 0 : stats.failures > 0, what);
    await assertCalm(cache);
  }
});

test('bytes of another object under an honest name are forged', async t => {
  const contents = new Contents().renew();
  const honest = await upstream(t, contents.handler);
  const [asked, other] = [...contents.files.keys()].filter(path => path.startsWith('targets/'));
  const bad = await frontOf(t, honest.url, { kind: 'other-object', path: other! });
  const cache = await cacheFor(t, [bad.url]);
  const answer = await get(`${cache.url}/${asked}`);
  assert.equal(answer.status, 502);
  assert.match(answer.body.toString(), /^E_UPSTREAM_FORGED/);
  assert.equal(cache.statsOf(bad.url).lastBlame!.object, asked);
});

test('closing after each answer, HTTP/1.0 and slowness are no failures', async t => {
  const contents = new Contents().renew();
  for (const name of contents.files.keys())
    if (contents.files.get(name)!.length > 20_000) contents.files.delete(name);
  const origin = await upstream(t, contents.handler);
  const spare = await upstream(t, contents.handler);
  for (const fault of [
    { kind: 'close' },
    { kind: 'http-1.0' },
    { kind: 'trickle', bytesPerSecond: 10_000 },
  ] as const) {
    const odd = await frontOf(t, origin.url, fault);
    const cache = await cacheFor(t, [odd.url, spare.url]);
    assert.deepEqual(await storm(cache, contents), ALL_RIGHT, fault.kind);
    const { failures, blamed, healthy } = cache.statsOf(odd.url);
    assert.deepEqual([failures, blamed, healthy], [0, 0, true], fault.kind);
    assert.equal(spare.counts.size, 0, 'nobody else was asked');
    await assertCalm(cache);
  }
});

test('an origin that refuses connections, or never takes them, is passed over and named', async t => {
  const contents = new Contents().renew();
  const honest = await upstream(t, contents.handler);
  const gone = await upstream(t, contents.handler);
  await gone.close();
  for (const [url, found] of [
    [gone.url, /^ECONNREFUSED$/],
    [await blackhole(t), /^no (connection|answer) in time$/],
  ] as const) {
    const cache = await cacheFor(t, [url, honest.url]);
    assert.deepEqual(await storm(cache, contents), ALL_RIGHT);
    assert.match(cache.statsOf(url).lastFailure!.found, found);
    const alone = await cacheFor(t, [url]);
    const { refused } = await storm(alone, contents);
    assert.equal(refused.length, CLIENTS);
    for (const text of refused) assert.match(text, new RegExp(`E_UPSTREAM_\\w+: .*${url}/`));
    await assertCalm(alone);
  }
});

/** A stopped process that listens, its queue of connections full: who connects gets no answer at all. */
async function blackhole(t: TestContext): Promise<string> {
  const child = spawn(
    process.execPath,
    [
      '-e',
      "const s = require('net').createServer(); s.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(s.address().port));",
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  t.after(() => child.kill('SIGKILL'));
  const [port] = (await child.stdout.take(1).toArray()) as [Buffer];
  child.kill('SIGSTOP');
  for (let i = 0; i < 4; i += 1) {
    const socket = connect(Number(port.toString()), '127.0.0.1').on('error', () => undefined);
    t.after(() => void socket.destroy());
  }
  return `http://127.0.0.1:${port.toString().trim()}`;
}

/** The system's clock, which can be put forward. */
function advancingClock(): Clock & { advance(seconds: number): void } {
  let offset = 0;
  return {
    ...systemClock,
    monotonic: () => systemClock.monotonic() + offset,
    advance: seconds => void (offset += seconds * 1000),
  };
}

test('a hung origin gets one request each time its rest is over, whatever the crowd', async t => {
  const contents = new Contents().renew();
  const honest = await upstream(t, contents.handler);
  const hung = await frontOf(t, honest.url, { kind: 'silence' });
  const clock = advancingClock();
  const cache = await cacheFor(t, [hung.url, honest.url], { clock });
  assert.equal((await storm(cache, contents)).right, CLIENTS);
  for (let round = 1; round <= 3; round += 1) {
    const before = hung.requests.length;
    contents.renew();
    assert.equal((await storm(cache, contents)).right, CLIENTS);
    assert.equal(hung.requests.length, before, 'it rests');
    clock.advance(15);
    contents.renew();
    assert.equal((await storm(cache, contents)).right, CLIENTS);
    assert.equal(hung.requests.length, before + 1, `probe ${round}`);
  }
  hung.rules = [];
  clock.advance(15);
  contents.renew();
  assert.equal((await storm(cache, contents)).right, CLIENTS);
  contents.renew();
  const before = hung.requests.length;
  assert.equal((await storm(cache, contents)).right, CLIENTS);
  // Metadata is taken from the one whose timestamp is in force.
  const objects = [...contents.files.keys()].filter(path => path.startsWith('targets/'));
  assert.equal(hung.requests.length, before + objects.length, 'back to the first upstream');
  assert.equal(cache.statsOf(hung.url).healthy, true);
});

test('alone, a hung origin meets no stampede: one request at a time', async t => {
  const contents = new Contents().renew();
  const honest = await upstream(t, contents.handler);
  const hung = await frontOf(t, honest.url, { kind: 'silence' });
  const cache = await cacheFor(t, [hung.url]);
  assert.equal((await storm(cache, contents)).refused.length, CLIENTS);
  const first = hung.requests.length;
  assert.equal(first, contents.files.size, 'each object once, before it was known to hang');
  for (let i = 1; i <= 3; i += 1) {
    contents.renew();
    assert.equal((await storm(cache, contents)).refused.length, CLIENTS);
    assert.ok(hung.requests.length - first <= i, `${hung.requests.length - first} requests of ${i} crowds`);
  }
  await assertCalm(cache);
});

test('an origin that fails at each second request, or restarts in the middle of bodies, serves everybody who asks again', async t => {
  const contents = new Contents();
  const spoilt: ((response: ServerResponse, body: Buffer) => void)[] = [
    response => response.destroy(),
    (response, body) => {
      response.writeHead(200, { 'content-length': body.length });
      response.write(body.subarray(0, body.length >> 1), () => response.destroy());
    },
  ];
  for (const spoil of spoilt) {
    contents.renew();
    let requests = 0;
    const flapping = await upstream(t, (request, response) => {
      requests += 1;
      const body = contents.files.get((request.url ?? '').slice(1));
      if (requests % 2 === 1 && body !== undefined) spoil(response, body);
      else contents.handler(request, response);
    });
    const cache = await cacheFor(t, [flapping.url]);
    await Promise.all(
      [...contents.files].map(([name, expected]) =>
        waitUntil(`${name} is served`, async () => {
          const { status, body, complete } = await get(`${cache.url}/${name}`);
          assert.ok(status !== 200 || body.equals(expected.subarray(0, body.length)), 'a wrong byte');
          return status === 200 && complete;
        }),
      ),
    );
    assert.deepEqual(await storm(cache, contents), ALL_RIGHT);
    const { failures, blamed, lastFailure } = cache.statsOf(flapping.url);
    assert.ok(failures > 0 && blamed === 0 && lastFailure !== undefined);
    await assertCalm(cache);
  }
});

test('one group spreads its load, and views of one origin share what is known of it', async t => {
  const contents = new Contents();
  const members = await Promise.all([upstream(t, contents.handler), upstream(t, contents.handler)]);
  const cache = await cacheFor(t, [members.map(({ url }) => url).join('|')]);
  for (let round = 0; round < 5; round += 1)
    assert.equal((await storm(cache, contents.renew())).right, CLIENTS);
  for (const { counts } of members) assert.ok(counts.size >= 5, `${counts.size} of 50`);
  const [first, second] = members;
  await first.close();
  assert.deepEqual(await storm(cache, contents.renew()), ALL_RIGHT);
  const { requests, healthy } = cache.statsOf(first.url);
  assert.equal(healthy, false);
  const [name] = contents.renew().files.keys();
  const forward = await get(cache.url, { path: `${second.url}/${name}` });
  assert.equal(forward.status, 200);
  assert.equal(cache.stats().upstreams.length, 2);
  assert.equal(cache.statsOf(first.url).requests, requests, 'the other origin was not asked for it');
});

async function siblingsFor(t: TestContext, origin: string): Promise<[Cache, Cache]> {
  const [one, two] = [await freePort(), await freePort()];
  const urls = [one, two].map(port => `http://127.0.0.1:${port}`) as [string, string];
  const start = (port: number, sibling: string) =>
    cacheFor(t, [origin], { listen: `127.0.0.1:${port}`, siblings: [sibling] });
  return [await start(one, urls[1]), await start(two, urls[0])];
}

test('two siblings: what one has the other takes from it, and the origin sends each object at most twice', async t => {
  const contents = new Contents().renew();
  const origin = await upstream(t, contents.handler);
  const [one, two] = await siblingsFor(t, origin.url);
  assert.deepEqual(await storm(one, contents), ALL_RIGHT);
  assert.deepEqual(await storm(two, contents), ALL_RIGHT);
  const objects = () => [...contents.files.keys()].filter(path => path.startsWith('targets/'));
  for (const path of objects()) assert.equal(origin.count(path), 1, path);
  const { answers, bytes, failures } = two.statsOf(one.url);
  assert.equal(answers, objects().length);
  assert.ok(bytes > 1_000_000);
  assert.equal(failures, 0);

  contents.renew();
  const both = await Promise.all([storm(one, contents), storm(two, contents)]);
  for (const outcome of both) assert.deepEqual(outcome, ALL_RIGHT);
  for (const path of objects()) assert.ok(origin.count(path) <= 2, path);
  await origin.close();
  for (const cache of [one, two]) {
    assert.equal((await storm(cache, contents)).right, CLIENTS, 'both have all of it');
    await assertCalm(cache);
  }
});

test('siblings that ask each other for the same object at the same moment do not wait for each other', async t => {
  const contents = new Contents().renew();
  const held: (() => void)[] = [];
  const origin = await upstream(t, (request, response) => {
    held.push(() => contents.handler(request, response));
  });
  const [one, two] = await siblingsFor(t, origin.url);
  const [name] = [...contents.files.keys()];
  const answers = [one, two].map(cache => get(`${cache.url}/${name}`));
  await waitUntil('both have reached the origin', () => held.length === 2);
  for (const answer of held) answer();
  for (const { status, body } of await Promise.all(answers)) {
    assert.equal(status, 200);
    assert.ok(body.equals(contents.files.get(name!)!));
  }
});

test('a sibling that lies is blamed and left alone, one that is dead or hangs is passed over: the origin has the right bytes', async t => {
  const contents = new Contents().renew();
  const origin = await upstream(t, contents.handler);
  for (const [what, fault] of Object.entries({ ...FORGING, silent: FAILING.silent!, dead: undefined })) {
    contents.renew();
    const bad = await frontOf(t, origin.url, fault ?? { kind: 'hang-up' });
    if (fault === undefined) await bad.close();
    const cache = await cacheFor(t, [origin.url], { siblings: [bad.url] });
    assert.deepEqual(await storm(cache, contents), ALL_RIGHT, what);
    const { role, blamed, failures, trusted, healthy } = cache.statsOf(bad.url);
    assert.equal(role, 'sibling');
    if (what in FORGING) assert.ok(blamed > 0 && !trusted, what);
    else assert.ok(failures > 0 && !healthy, what);
    const before = bad.requests.length;
    contents.renew();
    assert.deepEqual(await storm(cache, contents), ALL_RIGHT, what);
    assert.equal(bad.requests.length, before, `${what}: left alone`);
    const { failures: none, blamed: never } = cache.statsOf(origin.url);
    assert.deepEqual([none, never], [0, 0], what);
    await assertCalm(cache);
  }
});
