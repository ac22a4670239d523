import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { cp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { runWrapper } from '../integration/codecache/wrapper-box.ts';
import { runPilotage, startCacheDaemon, startStoreDaemon } from '../lab/cache-daemons.ts';
import { flipped, startForger } from '../lab/cache-forger.ts';
import { makeCacheRelease } from '../lab/cache-release.ts';
import { makeTemporaryDirectory, temporaryDirectory } from '../lab/temporary.ts';

const nodesProgram = fileURLToPath(new URL('../integration/codecache/rollout-nodes.ts', import.meta.url));
const run = promisify(execFile);

const home = await makeTemporaryDirectory('cache-clients');
after(home.remove);
const release = await makeCacheRelease(home.path, { pilotBytes: 200_000, runtimeBytes: 400_000 });
const { lab } = release;
const rootFile = join(home.path, 'root.json');
await writeFile(rootFile, lab.rootJson);
/** What a mirror that nobody looks after serves: the repository as it was before its newest release. */
const outdated = join(home.path, 'outdated');
await cp(lab.publicDirectory, outdated, { recursive: true });
await lab.refresh();

interface Fetched {
  cache: string;
  refusals: { cache: string; code: string }[];
}

/** `pilotage cache fetch`, on a node that has nothing unless a store is given. */
async function fetchByClient(
  caches: string[],
  store = join(home.path, `store-${randomUUID()}`),
): Promise<Fetched> {
  const args = ['cache', 'fetch', '--root', rootFile, '--queue', 'Q1', '--store', store, '--json'];
  const { stdout } = await runPilotage(...args, ...caches.flatMap(cache => ['--cache', cache]));
  return JSON.parse(stdout) as Fetched;
}

/** The wrapper of a batch job on a node that has nothing: which cache it took its release from. */
async function fetchByWrapper(t: TestContext, caches: string[]) {
  const directory = await temporaryDirectory(t);
  const done = await runWrapper({
    directory: join(directory, 'box'),
    store: join(directory, 'store'),
    rootJson: lab.rootJson,
    caches,
  });
  assert.equal(done.exit, 0, done.stderr);
  return done;
}

const cacheStats = async (url: string, ...more: string[]): Promise<string> =>
  (await runPilotage('cache', 'stats', '--url', url, ...more)).stdout;

/** A bad cache, and whom it is bad by; the name of the test says what is wrong with it. */
type Bad = (t: TestContext) => Promise<string>;

const cacheBefore = async (t: TestContext, upstream: string): Promise<string> =>
  (await startCacheDaemon(t, { upstreams: [upstream], directory: await temporaryDirectory(t) })).url;

const bad: Record<string, Bad> = {
  dead: async t => {
    const cache = await startCacheDaemon(t, {
      upstreams: ['http://127.0.0.1:9'],
      directory: await temporaryDirectory(t),
    });
    await cache.daemon.kill();
    return cache.url;
  },
  'without an origin': t => cacheBefore(t, 'http://127.0.0.1:9'),
  'before an origin that forges objects': async t =>
    cacheBefore(
      t,
      (
        await startForger(t, {
          files: release.files,
          forge: (path, body) => (path.startsWith('targets/') ? flipped(path, body) : body),
        })
      ).url,
    ),
  'before an origin that forges all': async t =>
    cacheBefore(t, (await startForger(t, { files: release.files })).url),
  'an impostor': async t => (await startForger(t, { files: release.files })).url,
  outdated: async t => cacheBefore(t, (await startStoreDaemon(t, outdated)).url),
};

test(
  'two caches, one of them bad: client and wrapper finish through the other',
  { concurrency: 3 },
  async t => {
    const cases = Object.entries(bad).map(([what, start]) =>
      t.test(what, async t => {
        const store = await startStoreDaemon(t, lab.publicDirectory);
        const [badUrl, good] = await Promise.all([
          start(t),
          startCacheDaemon(t, { upstreams: [store.url], directory: await temporaryDirectory(t) }),
        ]);
        const caches = [badUrl, good.url];
        if (what === 'outdated') return assertLeft(badUrl, good.url);
        const [fetched, wrapped] = await Promise.all([fetchByClient(caches), fetchByWrapper(t, caches)]);
        assert.equal(fetched.cache, good.url);
        assert.equal(wrapped.result.cache, good.url);
        const forges = /forges|impostor/.test(what);
        assert.ok(
          fetched.refusals.every(({ cache }) => cache === badUrl),
          JSON.stringify(fetched.refusals),
        );
        if (what === 'before an origin that forges objects') {
          const blamed = await cacheStats(badUrl);
          assert.match(blamed, /blamed [1-9]\d* times.*targets\//);
        } else if (forges) assert.ok(fetched.refusals.length > 0, 'the cache that lied is named');
        const ratio = await cacheStats(good.url);
        assert.match(ratio, /\d+(\.\d+)? ?%/, 'the share of hits is shown');
        const stats = JSON.parse(await cacheStats(good.url, '--json')) as { hits: number; misses: number };
        assert.ok(stats.hits > 0 && stats.misses > 0, JSON.stringify(stats));
      }),
    );
    await Promise.all(cases);
  },
);

/** A node that has seen the newest leaves a cache that goes back behind it. */
async function assertLeft(outdatedUrl: string, goodUrl: string): Promise<void> {
  const store = join(home.path, 'kept');
  await fetchByClient([goodUrl], store);
  const metadata = join(store, 'metadata');
  for (const pin of await readdir(metadata)) await rm(join(metadata, pin, 'checked'), { force: true });
  const { cache, refusals } = await fetchByClient([outdatedUrl, goodUrl], store);
  assert.equal(cache, goodUrl);
  assert.deepEqual(
    refusals.map(refusal => [refusal.cache, refusal.code]),
    [[outdatedUrl, 'E_TUF_STALE']],
  );
}

test('150 pilots start at once through two caches: the origin sends each object at most once per process of them', async t => {
  const origin = await startForger(t, { files: release.files, forge: (_path, body) => body });
  const processes = [2, 1];
  const caches = await Promise.all(
    processes.map(async count =>
      startCacheDaemon(t, {
        upstreams: [origin.url],
        directory: await temporaryDirectory(t),
        config: { processes: count },
      }),
    ),
  );
  const directory = await temporaryDirectory(t);
  const task = {
    rootFile,
    directory,
    caches: [caches.map(({ url }) => url).join('|')],
    nodes: 75,
    atOnce: 75,
  };
  const crowds = await Promise.all(
    [0, 1].map(() => run(process.execPath, [nodesProgram, JSON.stringify(task)], { timeout: 90_000 })),
  );
  for (const { stdout } of crowds) {
    const { installed, refusals } = JSON.parse(stdout) as { installed: number; refusals: unknown[] };
    assert.deepEqual([installed, refusals], [75, []]);
  }
  for (const path of new Set(origin.asked)) {
    const most = path.startsWith('targets/') ? 3 : 12;
    assert.ok(origin.count(path) <= most, `${path} was asked for ${origin.count(path)} times`);
  }
});
