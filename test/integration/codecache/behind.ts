import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { systemClock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import { startFaultyFront } from '../../lab/faulty-front.ts';
import type { FaultRule } from '../../lab/faulty-front.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { amendPointer } from '../../lab/revoke.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import type { Ending } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { bareNodes } from './bare-nodes.ts';
import { readTree, sha256Of } from './forgery.ts';
import { get, temporaryDirectory, upstream } from './web.ts';
import type { Got } from './web.ts';
import { runWrapper } from './wrapper-box.ts';

/** What a site has: a cache of its own in front of the store. */
export interface SiteCache {
  /** The way to the store through it, as pilots name it. */
  cache: string;
  /** One answer of it for a path of the store. */
  ask: (path: string, headers?: Record<string, string>) => Promise<Got>;
}

export type StartSiteCache = (t: TestContext, store: string) => Promise<SiteCache>;

const TIMESTAMP = 'metadata/timestamp.json';

/** Later than a node keeps by itself what it checked. */
const later = { ...systemClock, now: () => Date.now() + 31_000 };

/** A real store over a repository. */
export async function startStore(t: Ending, lab: ReleaseRepositoryLab): Promise<string> {
  const store = await serveStore({
    directory: lab.publicDirectory,
    listen: '127.0.0.1:0',
    log: silentLog,
    history: false,
  });
  t.after(() => store.close());
  return store.url;
}

/** In front of a store: timestamp.json may be kept for a second in the place of thirty. */
async function hasty(t: TestContext, store: string): Promise<string> {
  const front = await upstream(t, (request, response) => {
    const { host: _host, connection: _connection, ...asked } = request.headers;
    const answered = get(`${store}${request.url}`, { headers: asked as Record<string, string> });
    answered.then(
      ({ status, headers, body }) => {
        const { connection: _same, 'keep-alive': _alive, ...kept } = headers;
        const control = headers['cache-control']?.replace('max-age=30,', 'max-age=1,');
        response.writeHead(status, { ...kept, ...(control && { 'cache-control': control }) }).end(body);
      },
      () => response.destroy(),
    );
  });
  return front.url;
}

/** Registers what must hold of nodes behind a site's cache, whichever it is. */
export async function holdsBehind(name: string, start: StartSiteCache): Promise<void> {
  const home = await makeTemporaryDirectory('behind');
  after(home.remove);
  const lab = await makeReleaseRepository({ directory: home.path });
  const store = await startStore({ after }, lab);

  /** A cache that was never asked, before a store that goes wrong by rules. */
  async function site(t: TestContext, rules: FaultRule[] = [], of = store) {
    const front = await startFaultyFront({ upstream: of, rules });
    t.after(() => front.close());
    const behind = await start(t, front.url);
    const directory = await temporaryDirectory(t);
    let nodes = 0;
    const node = () => join(directory, `node${(nodes += 1)}`);
    const client = (caches = [behind.cache], trustedRoot = lab.rootJson) =>
      fetchRelease({
        trustedRoot,
        storeDirectory: node(),
        caches,
        queue: 'Q1',
        patienceSeconds: 0,
        clock: later,
      });
    const wrapper = (more: { shell?: string; environment?: Record<string, string> } = {}) => {
      const box = node();
      const { cache } = behind;
      return runWrapper({ directory: box, store: 'store', rootJson: lab.rootJson, caches: [cache], ...more });
    };
    return { ...behind, front, client, wrapper, directory };
  }

  test(`${name}: nodes of every kind install a release, and the store gives each file once`, async t => {
    const { cache, front, client, wrapper, directory } = await site(t);
    const fetched = await client();
    assert.deepEqual([fetched.cache, fetched.refusals, fetched.release.version], [cache, [], '1.0.0']);
    await mkdir(join(directory, 'kinds'));
    for (const { name: kind, shell, path } of await bareNodes(join(directory, 'kinds'))) {
      const { result, stderr } = await wrapper({ shell, environment: { PATH: path } });
      assert.deepEqual(result, { code: 'ok', exit: 0, cache, message: 'the pilot ended' }, kind + stderr);
    }
    const counts = Map.groupBy(front.requests, ({ path }) => path);
    assert.ok([...counts.keys()].some(path => path.includes('.node-')));
    for (const [path, asked] of counts) {
      // Five nodes; timestamp and the next root run out, on a slow machine also meanwhile.
      assert.ok(asked.length <= (/timestamp|root/.test(path) ? 4 : 1), `${asked.length} times ${path}`);
    }
  });

  for (const [what, path, code] of [
    ['archive', /\.node-/, 'E_TARGET_HASH'],
    ['timestamp', /timestamp/, 'E_TUF_'],
  ] as const) {
    test(`${name}: a damaged ${what} that it keeps is got past once, and healed for the others`, async t => {
      for (const kind of ['client', 'wrapper'] as const) {
        const { cache, front, client, wrapper } = await site(t, [
          { path, times: 1, fault: { kind: 'flip', at: 70 } },
        ]);
        if (kind === 'wrapper') {
          const { result, stderr } = await wrapper();
          assert.equal(result.code, 'ok', stderr);
          assert.ok(stderr.includes(code) && stderr.includes(` ${cache}/`), stderr);
        } else {
          const { refusals } = await client();
          assert.deepEqual(
            refusals.map(refusal => refusal.cache),
            [cache],
          );
          assert.ok(refusals[0]!.code.startsWith(code) && refusals[0]!.where.startsWith(`${cache}/`));
        }
        assert.deepEqual(
          front.requests.filter(asked => path.test(asked.path)).map(({ noCache }) => noCache),
          [false, true],
        );
        assert.deepEqual((await client()).refusals, []);
        assert.equal(front.count(path), 2, 'what was healed is kept');
      }
    });
  }

  test(`${name}: bytes that are always wrong are refused, and the whole way is to blame`, async t => {
    const { cache, client, wrapper } = await site(t, [{ path: /\.node-/, fault: { kind: 'flip', at: 9 } }]);
    const isBlamed = (error: { code?: string; refusals?: { cache: string; code: string }[] }) => {
      assert.equal(error.code, 'E_TARGET_HASH');
      assert.deepEqual(
        error.refusals?.map(refusal => [refusal.cache, refusal.code]),
        [[cache, 'E_TARGET_HASH']],
      );
      return true;
    };
    await assert.rejects(client(), isBlamed);
    const { result } = await wrapper();
    assert.deepEqual([result.code, result.exit, result.cache], ['E_TARGET_HASH', 3, cache]);
    const fetched = await client([cache, store]);
    assert.deepEqual([fetched.cache, fetched.refusals[0]?.cache], [store, cache], 'another way serves');
  });

  test(`${name}: a new release, and its withdrawal, arrive when timestamp.json has run out`, async t => {
    const own = await makeReleaseRepository({ directory: await temporaryDirectory(t) });
    const { ask, front, client } = await site(t, [], await hasty(t, await startStore(t, own)));
    const version = () =>
      client(undefined, own.rootJson).then(
        ({ release }) => release.version,
        (error: { code?: string }) => error.code,
      );
    assert.equal(await version(), '1.0.0');
    await own.addPilot('1.1.0');
    for (const channel of ['dev', 'canary', 'stable']) await own.promote({ version: '1.1.0', channel });
    await own.publish();
    await waitUntil('the new release is there', async () => (await version()) === '1.1.0');
    await amendPointer(own, 'stable', { yanked: ['1.1.0'] });
    await waitUntil('the withdrawal is there', async () => (await version()) === 'E_CHANNEL_YANKED');
    await waitUntil('it is kept meanwhile', async () => {
      const asked = front.count(/timestamp/);
      for (let times = 0; times < 5; times += 1) assert.equal((await ask(TIMESTAMP)).status, 200);
      return front.count(/timestamp/) - asked <= 1;
    });
  });

  for (const how of ['is gone', 'answers 503'] as const) {
    test(`${name}: when the store ${how}, what is kept goes on for as long as the store said`, async t => {
      const { ask, front, client } = await site(t, [], await hasty(t, store));
      await client();
      const { body } = await ask(TIMESTAMP);
      const kept = front.requests.length;
      if (how === 'is gone') await front.close();
      else front.rules = [{ fault: { kind: 'status', status: 503, retryAfterSeconds: 7 } }];
      await waitUntil('it has run out', async () => isStale(await ask(TIMESTAMP)));
      assert.deepEqual((await ask(TIMESTAMP)).body, body);
      assert.deepEqual((await client()).refusals, []);
      if (how !== 'is gone') assert.ok(front.requests.length > kept, 'the store was asked');
      assert.ok((await ask('metadata/9.stable.json')).status >= 500, 'nothing is made up');
    });
  }

  test(`${name}: an overloaded store is left alone for as long as it asks, and its errors are not kept`, async t => {
    const { cache, front, client } = await site(t, [
      { fault: { kind: 'status', status: 503, retryAfterSeconds: 7 } },
    ]);
    const isOverloaded = (error: { code?: string; where?: string; retryAfterSeconds?: number }) => {
      assert.deepEqual([error.code, error.retryAfterSeconds], ['E_CACHE_UNREACHABLE', 7]);
      assert.ok(error.where?.startsWith(`${cache}/metadata/`));
      return true;
    };
    await assert.rejects(client(), isOverloaded);
    front.rules = [];
    await waitUntil('the store is asked again', async () =>
      client().then(
        () => true,
        () => false,
      ),
    );
  });

  test(`${name}: who asks for the rest of a file gets it, and the whole is kept`, async t => {
    const { ask, front } = await site(t);
    const tree = await readTree(lab.publicDirectory);
    const [path, bytes] = [...tree].find(([path]) => path.includes('.node-'))!;
    const rest = await ask(path, { range: 'bytes=100-' });
    assert.equal(rest.status, 206);
    assert.deepEqual(rest.body, bytes.subarray(100));
    const asked = front.count(/\.node-/);
    assert.deepEqual((await ask(path)).body, bytes);
    assert.equal(front.count(/\.node-/), asked);
    const etag = `"${sha256Of(bytes)}"`;
    assert.equal((await ask(path, { 'if-none-match': etag })).status, 304);
    const resumed = await ask(path, { range: 'bytes=7-', 'if-range': etag });
    assert.deepEqual([resumed.status, resumed.body], [206, bytes.subarray(7)]);
  });
}

/** By what Squid and nginx say of an answer that they could not have renewed. */
const isStale = ({ headers }: Got): boolean =>
  headers['x-cache'] === 'STALE' || /^11[01] /.test(headers.warning ?? '');
