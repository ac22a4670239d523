import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { Agent, request } from 'undici';
import { errorTable } from '../../../lib/error-table.ts';
import { routes } from '../../../lib/protocol.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { Ending } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { acquireRequest, job, newPilot, startTlsSite } from './tls-site.ts';
import type { Identity, TlsSite } from './tls-site.ts';

/** Plain requests, as any HTTP client makes them. */
function rawClient(t: Ending, site: TlsSite, identity?: Identity) {
  const agent = new Agent({
    connect: {
      ca: site.ca,
      ...(identity && { cert: identity.cert, key: identity.key }),
      maxCachedSessions: 0,
    },
  });
  t.after(() => agent.destroy());
  return async (
    method: 'GET' | 'POST',
    path: string,
    options: { body?: string; headers?: Record<string, string> } = {},
  ) => {
    const answer = await request(site.server.url + path, {
      method,
      dispatcher: agent,
      body: options.body ?? null,
      headers: { 'content-type': 'application/json', 'idempotency-key': 'k1', ...options.headers },
    });
    const text = await answer.body.text();
    return { status: answer.statusCode, headers: answer.headers, text, json: JSON.parse(text) as never };
  };
}

describe('the surface of the server', () => {
  test('requests that make no sense are refused by field, and nothing else happens', async t => {
    const site = await startTlsSite(t, { limits: { bodyBytes: 2048 } });
    const call = rawClient(t, site, site.users.alice);
    const good = JSON.stringify(job());
    const problem = async (
      code: keyof typeof errorTable,
      method: 'GET' | 'POST',
      path: string,
      options: Parameters<typeof call>[2] = {},
    ) => {
      const answer = await call(method, path, options);
      const body = answer.json as { code: string; status: number; requestId: string };
      assert.equal(body.code, code, answer.text);
      assert.equal(answer.status, errorTable[code].status);
      assert.match(String(answer.headers['content-type']), /^application\/problem\+json/);
      assert.ok(!answer.text.includes('    at '), 'no stack trace');
      return answer;
    };
    await problem('E_TOO_LARGE', 'POST', '/v1/jobs', { body: JSON.stringify({ x: 'y'.repeat(4096) }) });
    await problem('E_MEDIA_TYPE', 'POST', '/v1/jobs', {
      body: good,
      headers: { 'content-type': 'text/xml' },
    });
    await problem('E_BAD_REQUEST', 'POST', '/v1/jobs', { body: '{"jobs":' });
    await problem('E_BAD_REQUEST', 'POST', '/v1/jobs', { body: '{"jobs":[]}' });
    await problem('E_BAD_REQUEST', 'POST', '/v1/jobs', { body: good, headers: { 'idempotency-key': 'a b' } });
    await problem('E_BAD_REQUEST', 'GET', '/v1/jobs?state=asleep');
    await problem('E_BAD_REQUEST', 'GET', '/v1/jobs/not-an-id');
    await problem('E_NO_SUCH_ROUTE', 'GET', '/v1/nothing');
    await problem('E_NO_SUCH_ROUTE', 'POST', '/v2/jobs', { body: good });
    const unknownEnum = JSON.stringify(job({ label: 'party' as never }));
    await problem('E_BAD_REQUEST', 'POST', '/v1/jobs', { body: unknownEnum });
    const extra = JSON.stringify({ ...job(), unknown: { field: true } });
    assert.equal((await call('POST', '/v1/jobs', { body: extra })).status, 200);
    const first = await call('POST', '/v1/jobs', { body: good, headers: { 'idempotency-key': 'k1' } });
    assert.equal(first.status, 200, 'an unknown field does not make it another request');
    const other = JSON.stringify(job({ name: 'other' }));
    await problem('E_IDEMPOTENCY_CONFLICT', 'POST', '/v1/jobs', { body: other });
    assert.ok(first.headers['x-pilotage-version']);
  });

  test('lists are bounded too, and strangers are heard with little', async t => {
    const site = await startTlsSite(t);
    const pilot = await newPilot(site);
    const call = rawClient(t, site, pilot.identity);
    const release = { name: 'pilot', version: '1', sha256: 'a'.repeat(64), metadata: {} };
    const roles = Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`r${index}`, 1]));
    for (const [field, more] of [
      ['labels', { labels: Array.from({ length: 100_000 }, () => 'user') }],
      ['metadata', { release: { ...release, metadata: roles } }],
    ] as const) {
      const answer = await call('POST', '/v1/acquire', {
        body: JSON.stringify({ ...acquireRequest(), ...more }),
      });
      assert.deepEqual([answer.status, (answer.json as { code: string }).code], [400, 'E_BAD_REQUEST']);
      assert.match((answer.json as { where: string }).where, new RegExp(field));
    }
    const stranger = rawClient(t, site);
    const large = JSON.stringify({ csr: 'x'.repeat(1 << 20) });
    assert.equal((await stranger('POST', '/v1/enrol', { body: large })).status, 413);
  });

  test('a stranger who says nothing cannot hold up the end of a server', async t => {
    const site = await startTlsSite(t);
    const { hostname: host, port } = new URL(site.server.url);
    const silentTcp = connect({ host, port: Number(port) });
    const silentTls = connectTls({ host, port: Number(port), rejectUnauthorized: false });
    const slow = connectTls({ host, port: Number(port), rejectUnauthorized: false });
    for (const socket of [silentTcp, silentTls, slow]) {
      socket.on('error', () => {});
      t.after(() => socket.destroy());
    }
    await Promise.all([
      once(silentTcp, 'connect'),
      once(silentTls, 'secureConnect'),
      once(slow, 'secureConnect'),
    ]);
    slow.write(
      'POST /v1/enrol HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{',
    );
    assert.equal((await rawClient(t, site)('GET', '/livez')).status, 200);
    const started = performance.now();
    await site.server.close();
    assert.ok(performance.now() - started < 10_000, `${performance.now() - started} ms`);
  });

  test('the description lists every route, below the path prefix, and names no host', async t => {
    const site = await startTlsSite(t, { publicBaseUrl: 'https://pilots.example.org/panda/' });
    assert.match(site.server.url, /\/panda$/);
    const call = rawClient(t, site, site.users.alice);
    const { paths } = (await call('GET', '/v1/openapi.json')).json as { paths: Record<string, object> };
    for (const route of Object.values(routes)) {
      const path = `/panda${route.path.replace(/:(\w+)/g, '{$1}')}`;
      assert.ok(paths[path] && route.method.toLowerCase() in paths[path], `${route.method} ${path}`);
    }
    for (const path of ['/v1/openapi.json', '/v1/floors', '/livez', '/readyz', '/v1/jobs']) {
      const { text } = await call('GET', path);
      assert.ok(!text.includes(hostname()), `${path} names the host`);
    }
  });

  test('health: ready with its database, not ready without, draining when told to end', async t => {
    const site = await startTlsSite(t);
    const call = rawClient(t, site);
    assert.equal((await call('GET', '/livez')).status, 200);
    assert.equal((await call('GET', '/readyz')).status, 200);
    assert.equal((await call('GET', '/drainz')).status, 503);
    await site.server.context.database.close();
    await waitUntil('it is not ready', async () => (await call('GET', '/readyz')).status === 503);
    const answer = await call('GET', '/readyz');
    assert.match(answer.text, /E_NOT_READY.*database/);
    assert.ok(Number(answer.headers['retry-after']) >= 1);
    assert.equal((await call('GET', '/livez')).status, 200);
  });

  test('a server that ends answers what waits, and gives out no more jobs', async t => {
    const site = await startTlsSite(t);
    const { client } = await newPilot(site);
    const waiting = client.call('acquire', { body: acquireRequest(30), timeoutSeconds: 40 });
    await waitUntil('the call waits', () => site.server.context.wakeup.waiting === 1);
    const started = performance.now();
    await site.server.close();
    const answer = await waiting;
    assert.equal(answer.lease, null);
    assert.ok(performance.now() - started < 10_000);
  });

  test('floors come from the verified metadata of the store, and do not go back', async t => {
    const site = await startTlsSite(t);
    const repository = await makeReleaseRepository({ directory: join(site.directory, 'release') });
    const rootFile = join(site.directory, 'root.json');
    await writeFile(rootFile, repository.rootJson);
    const store = { directory: repository.publicDirectory, rootFile, refreshSeconds: 0.1 };
    const server = await site.startAnother({ store });
    const client = site.client(undefined, server.url);
    const { floors } = await client.call('floors');
    assert.ok(floors && floors.root === 1 && floors.timestamp >= 1 && floors.snapshot >= 1);
    assert.deepEqual(Object.keys(floors.channelSerials).sort(), ['canary', 'dev', 'stable']);
    await repository.refresh();
    await waitUntil('the floors rise', async () => {
      const now = (await client.call('floors')).floors;
      return now !== null && now.timestamp > floors.timestamp;
    });
    await writeFile(join(repository.publicDirectory, 'metadata', 'timestamp.json'), '{}');
    const later = (await client.call('floors')).floors;
    assert.ok(later && later.timestamp > floors.timestamp);
    const pilot = await newPilot(site);
    assert.equal((await pilot.client.call('acquire', { body: acquireRequest() })).lease, null);
    const blind = await startTlsSite(t, { store: { ...store, directory: site.directory } });
    const stuck = await newPilot(blind);
    await assert.rejects(stuck.client.call('acquire', { body: acquireRequest(), patienceSeconds: 0 }), {
      code: 'E_NOT_READY',
      rule: 'fresh-metadata-before-jobs',
    });
  });
});
