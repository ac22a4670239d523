import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startNginxCache } from '../../lab/nginx.ts';
import { holdsBehind } from './behind.ts';
import { get, upstream } from './web.ts';

await holdsBehind('behind nginx', async (t, store) => {
  const { url } = await startNginxCache(t, store);
  return { cache: url, ask: (path, headers = {}) => get(`${url}/${path}`, { headers }) };
});

test('nginx as we configure it passes on what reads the files of the store, and nothing else', async t => {
  const store = await upstream(t, (request, response) => {
    const status = request.url?.includes('?') ? 404 : 200;
    response.writeHead(status, { 'cache-control': 'public, max-age=60' }).end('of the store');
  });
  const { url } = await startNginxCache(t, store.url);
  const status = async (path: string, method = 'GET') => (await get(url, { path, method })).status;
  for (const path of [
    '/metrics',
    '/history',
    '/readyz',
    '/metadata/',
    '/metadata/../metrics',
    '/targets/%00',
  ]) {
    assert.ok((await status(path)) >= 400, path);
  }
  for (const method of ['POST', 'PUT', 'DELETE']) {
    assert.equal(await status('/metadata/timestamp.json', method), 403);
    assert.equal(await status('/targets/a', method), 403);
  }
  assert.deepEqual([...store.counts], []);
  assert.equal(await status('/metadata/timestamp.json?past'), 404);
  assert.equal(await status('/metadata/timestamp.json'), 200, 'a 404 for a query is not that of the file');
});

test('many nodes that ask past nginx at once do not all reach the store', async t => {
  const store = await upstream(t, (_request, response) =>
    response.writeHead(200, { 'cache-control': 'public, max-age=60' }).end('of the store'),
  );
  const { url } = await startNginxCache(t, store.url);
  const past = { headers: { 'cache-control': 'no-cache', pragma: 'no-cache' } };
  const answers = await Promise.all(Array.from({ length: 300 }, () => get(`${url}/targets/a`, past)));
  const passed = answers.filter(({ status }) => status === 200).length;
  assert.ok(passed > 0 && passed < 150, `${passed} passed`);
  assert.equal(answers.filter(({ status }) => status === 429).length, answers.length - passed);
  assert.equal(store.count('targets/a'), passed);
  assert.equal((await get(`${url}/targets/a`)).status, 200, 'who takes what is kept is not bounded');
});
