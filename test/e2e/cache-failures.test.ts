import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runPilotage, startCacheDaemon, startStoreDaemon } from '../lab/cache-daemons.ts';
import type { ServedCache } from '../lab/cache-daemons.ts';
import { flipped, startForger } from '../lab/cache-forger.ts';
import { askEach, assertNothingWrong, eachServed, startLoad } from '../lab/cache-load.ts';
import type { Load } from '../lab/cache-load.ts';
import { makeCacheRelease } from '../lab/cache-release.ts';
import type { CacheRelease } from '../lab/cache-release.ts';
import { startFaultyFront } from '../lab/faulty-front.ts';
import { makeTemporaryDirectory, temporaryDirectory } from '../lab/temporary.ts';
import { waitUntil } from '../lab/wait-until.ts';

const CLIENTS = 24;
const home = await makeTemporaryDirectory('cache-failures');
after(home.remove);
const release = await makeCacheRelease(home.path);

const portOf = (listen: string): number => Number(listen.split(':')[1]);

/** Who wants to be believed leaves alone what a cache cannot check: nothing that it knows names these by their hash. */
const believable: typeof flipped = (path, body) => (/timestamp|root/.test(path) ? body : flipped(path, body));

const upstreamStats = async (cache: ServedCache, url: string) =>
  (await cache.stats()).upstreams.find(upstream => upstream.url === url)!;

test('origin killed, forging, back, paused, flapping: what is kept is served, what is not is refused by name', async t => {
  let store = await startStoreDaemon(t, release.lab.publicDirectory);
  const { url: origin, listen } = store;
  const cache = await startCacheDaemon(t, { upstreams: [origin], directory: await temporaryDirectory(t) });
  const load = startLoad(t, { urls: [cache.url], names: release.names, clients: CLIENTS });
  await eachServed(load);
  assert.deepEqual(load.refused, []);

  // Killed.
  await store.daemon.kill();
  const failuresBefore = (await upstreamStats(cache, origin)).failures;
  await eachServed(load);
  assert.deepEqual([...load.refused, ...load.cut], [], 'nobody who asked for what is kept has noticed');
  const cold = new Map([await release.addCold(), await release.addCold(6_000_000)]);
  const dead = await askEach(cache.url, cold);
  assert.equal(dead.refused.length, 2);
  for (const text of dead.refused) assert.match(text, new RegExp(`502 E_UPSTREAM_FAILED: .*${origin}`));
  const down = await upstreamStats(cache, origin);
  assert.ok(down.failures > failuresBefore && !down.healthy, JSON.stringify(down));

  // Somebody else in its place.
  const forger = await startForger(t, { files: release.files, forge: believable, port: portOf(listen) });
  await waitUntil('the forger is asked for what is not kept', async () => {
    const forged = await askEach(cache.url, cold);
    assert.equal(forged.right, 0);
    assert.deepEqual(forged.wrong, []);
    return [...cold.keys()].every(path => forger.count(path) > 0);
  });
  await eachServed(load);
  const blamed = await upstreamStats(cache, origin);
  for (const path of cold.keys()) {
    assert.ok(
      blamed.blames.some(({ object }) => object === path),
      `the statistics name who forged ${path}`,
    );
    const line = cache.log().find(({ msg, object }) => /forged/.test(msg) && object === path);
    assert.equal(line?.upstream, origin, `the log names who forged ${path}`);
  }
  await forger.close();

  // Back, paused, flapping.
  store = await startStoreDaemon(t, release.lab.publicDirectory, listen);
  for (const [path, body] of cold) load.names.set(path, body);
  await eachServed(load);
  process.kill(store.daemon.pid, 'SIGSTOP');
  const refusedBefore = load.refused.length;
  const [hungPath, hungBody] = await release.addCold();
  const hung = await askEach(cache.url, [[hungPath, hungBody]]);
  assert.match(hung.refused.join(), new RegExp(`50[24] E_UPSTREAM_(TIMEOUT|FAILED): .*${origin}`));
  await eachServed(load);
  assert.deepEqual(load.refused.slice(refusedBefore), [], 'nobody who asked for what is kept has noticed');
  process.kill(store.daemon.pid, 'SIGCONT');
  load.names.set(hungPath, hungBody);
  await eachServed(load);
  for (let round = 0; round < 3; round += 1) {
    process.kill(store.daemon.pid, 'SIGSTOP');
    const [path, body] = await release.addCold(200_000);
    load.names.set(path, body);
    await waitUntil('a request has failed', () => load.refused.some(text => text.startsWith(path)));
    process.kill(store.daemon.pid, 'SIGCONT');
    await eachServed(load);
  }
  await load.stop();
  assertNothingWrong(load);
});

test('two upstreams, one dead, paused or forging: no client notices, and the bad one is named', async t => {
  const good = await startStoreDaemon(t, release.lab.publicDirectory);
  const bad = await startStoreDaemon(t, release.lab.publicDirectory);
  const { url: badUrl, listen } = bad;
  const cache = await startCacheDaemon(t, {
    upstreams: [badUrl, good.url],
    directory: await temporaryDirectory(t),
  });
  const load = startLoad(t, { urls: [cache.url], names: release.names, clients: CLIENTS });
  await eachServed(load);
  const addCold = async () => {
    const added = [await release.addCold(), await release.addCold(300_000)];
    for (const [path, body] of added) load.names.set(path, body);
    await eachServed(load);
    return added.map(([path]) => path);
  };

  process.kill(bad.daemon.pid, 'SIGSTOP');
  await addCold();
  assert.ok((await upstreamStats(cache, badUrl)).failures > 0);
  process.kill(bad.daemon.pid, 'SIGCONT');
  await bad.daemon.kill();
  await waitUntil('the dead one was asked again', async () => {
    await addCold();
    return cache.log().some(({ upstream, found }) => upstream === badUrl && found === 'ECONNREFUSED');
  });
  const forger = await startForger(t, { files: release.files, forge: believable, port: portOf(listen) });
  await waitUntil('the forger was asked, and is blamed by name', async () => {
    await addCold();
    const { blames } = await upstreamStats(cache, badUrl);
    return blames.length > 0 && blames.every(({ object }) => release.files.has(object));
  });
  assert.ok(forger.requests > 0);
  const { blamed: falselyBlamed } = await upstreamStats(cache, good.url);
  assert.equal(falselyBlamed, 0, 'the honest one is not blamed for the other');
  await load.stop();
  assertNothingWrong(load);
  assert.deepEqual([...load.refused, ...load.cut], []);
});

test('kill -9 in the middle of a fetch: never a wrong byte, nothing half-written left, and what was kept is served without its origin', async t => {
  const store = await startStoreDaemon(t, release.lab.publicDirectory);
  const slow = await startFaultyFront({
    upstream: store.url,
    rules: [{ path: /node-/, times: 1, fault: { kind: 'trickle', bytesPerSecond: 3_000_000 } }],
  });
  t.after(() => slow.close());
  const directory = await temporaryDirectory(t);
  // Too little memory for the runtime, which is written to disk as it comes.
  const options = { upstreams: [slow.url], directory, config: { memoryBytes: '4MiB' } };
  let cache = await startCacheDaemon(t, options);
  const { listen } = cache;
  // As a service manager does: again and again, until what the killed one left has ended.
  const restart = () => waitUntil('it is back', () => startCacheDaemon(t, { ...options, listen }));
  const load = startLoad(t, { urls: [cache.url], names: release.names, clients: CLIENTS });
  const incoming = join(directory, 'incoming');
  await waitUntil('the runtime is on its way', async () => {
    const sent = slow.requests.find(({ path }) => path === release.runtime)?.sent ?? 0;
    return sent > 1_000_000 && (await readdir(incoming)).length > 0 && load.right > 100;
  });
  await cache.kill('all');
  assert.notDeepEqual(await readdir(incoming), []);
  cache = await restart();
  await eachServed(load);

  // Without its origin, killed again, all of it is there.
  await slow.close();
  await store.daemon.kill();
  await cache.kill('primary');
  cache = await restart();
  const kept = await askEach(
    cache.url,
    [...release.names].filter(([, body]) => body !== undefined),
  );
  assert.deepEqual([kept.wrong, kept.refused, kept.cut], [[], [], []]);
  await eachServedOf(load, release);
  assert.deepEqual(await readdir(incoming), []);
  await load.stop();
  assertNothingWrong(load);
});

test('a worker killed under load is named and replaced, a restart loses nothing, and the load goes on', async t => {
  const store = await startStoreDaemon(t, release.lab.publicDirectory);
  const cache = await startCacheDaemon(t, {
    upstreams: [store.url],
    directory: await temporaryDirectory(t),
    config: { processes: 2 },
  });
  const load = startLoad(t, { urls: [cache.url], names: release.names, clients: CLIENTS });
  await eachServed(load);
  const [first, second] = cache.workers() as [number, number];
  process.kill(first, 'SIGKILL');
  await waitUntil('it is replaced', async () => {
    const now = cache.workers();
    return now.length === 2 && !now.includes(first) && (await cache.stats()).missing === 0;
  });
  assert.ok(cache.workers().includes(second));
  await eachServed(load);
  const line = cache.log().find(({ ended }) => ended === first);
  assert.equal(line?.signal, 'SIGKILL', JSON.stringify(line));
  assert.equal((await cache.stats()).replaced, 1);
  assert.deepEqual(load.refused, []);
  assert.ok(load.cut.length <= CLIENTS, 'one request of each connection at most is lost with a worker');

  const lost = load.cut.length;
  const before = cache.workers();
  await runPilotage('cache', 'restart', '--dir', cache.directory);
  await waitUntil('all are new', () => cache.workers().every(pid => !before.includes(pid)));
  await eachServed(load);
  await load.stop();
  assertNothingWrong(load);
  assert.deepEqual([load.refused, load.cut.slice(lost)], [[], []], 'a restart costs no request');
});

/** Without the name whose 404 no origin confirms any more. */
async function eachServedOf(load: Load, { names }: CacheRelease): Promise<void> {
  load.names = new Map([...names].filter(([, body]) => body !== undefined));
  await eachServed(load);
}
