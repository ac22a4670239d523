import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkRelease } from '../../../codecache/client/check-release.ts';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { PathHealth } from '../../../codecache/client/path-health.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { bareNodes } from './bare-nodes.ts';
import { flip, readTree, serveTree } from './forgery.ts';
import { get, temporaryDirectory, upstream } from './web.ts';
import { runWrapper } from './wrapper-box.ts';

const home = await makeTemporaryDirectory('ways');
after(home.remove);
const lab = await makeReleaseRepository({ directory: home.path });
const tree = await readTree(lab.publicDirectory);
await writeFile(join(home.path, 'root.json'), lab.rootJson);
await mkdir(join(home.path, 'kinds'));
const kinds = await bareNodes(join(home.path, 'kinds'));
const program = fileURLToPath(new URL('../../../pilotage.ts', import.meta.url));

/** A forward proxy that keeps nothing and notes what it was asked for. */
async function forwardProxy(t: TestContext) {
  const asked: { target: string; host: string | undefined }[] = [];
  const { url } = await upstream(t, (request, response) => {
    asked.push({ target: request.url!, host: request.headers.host });
    get(request.url!).then(
      ({ status, body }) => response.writeHead(status).end(body),
      () => response.destroy(),
    );
  });
  return { url, asked };
}

/** What no node may come to, whatever its environment says. */
async function trap(t: TestContext) {
  const caught = { connections: 0 };
  const server = createServer(socket => {
    caught.connections += 1;
    socket.destroy();
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return { caught, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** Everything by which environments name proxies, and exceptions from them. */
const proxied = (url: string, except: string): Record<string, string> => ({
  ...Object.fromEntries(
    ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY'].map(name => [
      name,
      url,
    ]),
  ),
  no_proxy: except,
  NO_PROXY: except,
  NODE_USE_ENV_PROXY: '1',
});

async function setting(t: TestContext) {
  const store = await serveTree(t, () => tree);
  const proxy = await forwardProxy(t);
  const { caught, url } = await trap(t);
  const directory = await temporaryDirectory(t);
  const way = `${proxy.url}>${store.url}`;
  const inAbsoluteForm = () => {
    assert.ok(proxy.asked.length > 8);
    for (const { target, host } of proxy.asked) {
      assert.ok(target.startsWith(`${store.url}/`), target);
      assert.equal(host, new URL(store.url).host);
    }
  };
  return { store, proxy, way, caught, trapped: url, directory, inAbsoluteForm };
}

for (const { name, shell, path } of kinds) {
  test(`wrapper on ${name}: what is listed is asked, whatever proxies the environment names`, async t => {
    const { store, proxy, way, caught, trapped, directory, inAbsoluteForm } = await setting(t);
    const run = (box: string, cache: string, environment: Record<string, string>) =>
      runWrapper({
        directory: join(directory, box),
        store: 'store',
        rootJson: lab.rootJson,
        caches: [cache],
        shell,
        environment: { PATH: path, ...environment },
      });
    const straight = await run('straight', store.url, proxied(trapped, ''));
    assert.deepEqual([straight.result.code, straight.result.cache], ['ok', store.url], straight.stderr);
    assert.deepEqual(proxy.asked, []);
    const behind = await run('behind', way, proxied(trapped, '*'));
    assert.deepEqual([behind.result.code, behind.result.cache], ['ok', way], behind.stderr);
    const verified = JSON.parse(await readFile(join(directory, 'behind/verified.json'), 'utf8')) as object;
    assert.ok('cache' in verified && verified.cache === way);
    inAbsoluteForm();
    assert.equal(caught.connections, 0);
  });
}

test('cache fetch: what is listed is asked, whatever proxies the environment names', async t => {
  const { store, proxy, way, caught, trapped, directory, inAbsoluteForm } = await setting(t);
  const run = (node: string, cache: string, except: string) =>
    new Promise<{ status: unknown; stdout: string; stderr: string }>(resolve => {
      const args = ['cache', 'fetch', '--json', '--root', join(home.path, 'root.json'), '--queue', 'Q1'];
      const where = ['--store', join(directory, node), '--patience-seconds', '0', '--cache', cache];
      execFile(
        process.execPath,
        [program, ...args, ...where],
        { env: { ...process.env, PILOTAGE_LOG: 'error', ...proxied(trapped, except) } },
        (error, stdout, stderr) => resolve({ status: error?.code ?? 0, stdout, stderr }),
      );
    });
  const straight = await run('straight', store.url, '');
  assert.equal((JSON.parse(straight.stdout) as { cache: string }).cache, store.url, straight.stderr);
  assert.deepEqual(proxy.asked, []);
  const behind = await run('behind', way, '*');
  assert.equal((JSON.parse(behind.stdout) as { cache: string }).cache, way, behind.stderr);
  inAbsoluteForm();
  assert.equal(caught.connections, 0);
  const wrong = await run('wrong', `${proxy.url}/path>${store.url}`, '');
  assert.equal(wrong.status, 2);
  assert.match(wrong.stderr, /http:\/\/squid:3128>http:\/\/store:8090/);
});

test('each way has its own health and its own blame, also of the same store', async t => {
  const store = await serveTree(t, () => tree);
  const gone = await upstream(t, () => undefined);
  await gone.close();
  const liar = await upstream(t, (request, response) => {
    const path = new URL(request.url!).pathname.slice(1);
    const body = flip(
      tree,
      [...tree.keys()].find(name => name.includes('.node-'))!,
      9,
    ).get(path);
    response.writeHead(body === undefined ? 404 : 200).end(body);
  });
  const proxy = await forwardProxy(t);
  const ways = [gone.url, liar.url, proxy.url].map(through => `${through}>${store.url}`);
  const directory = await temporaryDirectory(t);
  const health = new PathHealth({ random: () => 0 });
  const options = {
    trustedRoot: lab.rootJson,
    caches: [`${ways[0]}|${ways[1]}`, ways[2]!],
    queue: 'Q1',
    patienceSeconds: 0,
  };
  const fetched = await fetchRelease({ ...options, storeDirectory: join(directory, 'node'), health });
  assert.equal(fetched.cache, ways[2]);
  assert.deepEqual(
    fetched.refusals.map(({ cache, code }) => [cache, code]),
    [[ways[1], 'E_TARGET_HASH']],
  );
  assert.ok(fetched.refusals[0]!.where.startsWith(`${ways[1]}/targets/`));
  assert.ok(health.restsMs(ways[0]!) > 0, 'the dead one rests');
  assert.ok(health.restsMs(store.url) <= 0 && health.restsMs(ways[2]!) <= 0, 'not the store behind it');

  const wrapped = await runWrapper({
    directory: join(directory, 'box'),
    store: 'store',
    rootJson: lab.rootJson,
    caches: [ways[0]!, ways[1]!, ways[2]!],
  });
  assert.deepEqual([wrapped.result.code, wrapped.result.cache], ['ok', ways[2]]);
  assert.equal(wrapped.result.message, `the pilot ended; E_TARGET_HASH at ${ways[1]}`);

  await assert.rejects(
    checkRelease({ ...options, caches: [ways[0]!], storeDirectory: join(directory, 'other') }),
    (error: { code?: string; where?: string }) =>
      error.code === 'E_CACHE_UNREACHABLE' && error.where!.startsWith(`${ways[0]}/metadata/`),
  );
});

test('a wrapper refuses ways that nobody could mean', async t => {
  const directory = await temporaryDirectory(t);
  for (const [box, cache] of [
    'http://a>http://b>http://c',
    'http://a>https://b',
    'https://a>http://b',
    'http://a/path>http://b',
    'http://user:secret@a>http://b',
    '>http://b',
    'http://a>',
  ].entries()) {
    const { result } = await runWrapper({
      directory: join(directory, `${box}`),
      store: 'store',
      rootJson: lab.rootJson,
      caches: [cache],
    });
    assert.deepEqual([result.code, result.exit], ['E_BOOTSTRAP', 2], cache);
    assert.match(result.message, /caches/);
  }
});
