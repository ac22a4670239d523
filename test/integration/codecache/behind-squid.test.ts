import assert from 'node:assert/strict';
import { request } from 'node:http';
import { test } from 'node:test';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { startFaultyFront } from '../../lab/faulty-front.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import { startSiteSquid } from '../../lab/site-squid.ts';
import { holdsBehind, startStore } from './behind.ts';
import { get, temporaryDirectory, upstream } from './web.ts';

await holdsBehind('through Squid as forward proxy', async (t, store) => {
  const { url, way } = await startSiteSquid(t, store);
  return { cache: way, ask: (path, headers = {}) => get(url, { path: `${store}/${path}`, headers }) };
});

test('the same Squid stands for the store itself, and keeps one copy for both', async t => {
  const directory = await temporaryDirectory(t);
  const lab = await makeReleaseRepository({ directory });
  const front = await startFaultyFront({ upstream: await startStore(t, lab) });
  t.after(() => front.close());
  const { way, accelerator } = await startSiteSquid(t, front.url);
  for (const [node, cache] of [way, accelerator].entries()) {
    const storeDirectory = `${directory}/node${node}`;
    const trustedRoot = lab.rootJson;
    const got = await fetchRelease({ trustedRoot, storeDirectory, caches: [cache], queue: 'Q1' });
    assert.equal(got.cache, cache);
  }
  const paths = front.requests.map(({ path }) => path);
  assert.deepEqual(paths, [...new Set(paths)], 'each file was fetched once');
});

test('Squid as we configure it is no open proxy', async t => {
  const unchanged = { 'last-modified': 'Sun, 01 Jan 2017 00:00:00 GMT' };
  const store = await upstream(t, (_request, response) =>
    response.writeHead(200, unchanged).end('of the store'),
  );
  const other = await upstream(t, (_request, response) => response.end('of somebody else'));
  const { url, accelerator } = await startSiteSquid(t, store.url);
  const status = async (path: string, method = 'GET', through = url) =>
    (await get(through, { path, method })).status;
  assert.equal(await status(`${store.url}/metadata/timestamp.json`), 200);
  assert.equal(await status('/metadata/timestamp.json', 'GET', accelerator), 200);
  for (const [path, method] of [
    [`${other.url}/metadata/timestamp.json`, 'GET'],
    [`${store.url.replace('127.0.0.1', 'localhost')}/metadata/timestamp.json`, 'GET'],
    [`${store.url}/metrics`, 'GET'],
    [`${store.url}/history`, 'GET'],
    [`${store.url}/metadata/timestamp.json?past`, 'GET'],
    [`${store.url}/metadata/timestamp.json`, 'POST'],
    [`${store.url}/metadata/timestamp.json`, 'TRACE'],
    [`${url}/squid-internal-mgr/info`, 'GET'],
    ['ftp://127.0.0.1/metadata/timestamp.json', 'GET'],
  ] as const) {
    assert.equal(await status(path, method), 403, `${method} ${path}`);
  }
  assert.equal(await status('/metrics', 'GET', accelerator), 403);
  assert.equal((await connect(url, new URL(store.url).host)).status, 403);
  // Both that were allowed: this store does not say for how long, and nothing is kept by guess.
  assert.deepEqual([store.count('metadata/timestamp.json'), other.counts.size], [2, 0]);
});

/** CONNECT, which node:http answers with an event of its own. */
const connect = (proxy: string, path: string): Promise<{ status: number | undefined }> =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(proxy);
    request({ hostname, port, method: 'CONNECT', path, agent: false })
      .on('connect', ({ statusCode }, socket) => {
        socket.destroy();
        resolve({ status: statusCode });
      })
      .on('error', reject)
      .end();
  });
