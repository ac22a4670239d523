import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { silentLog } from '../../../lib/log.ts';
import { startDaemon } from '../../lab/daemon.ts';
import { startNginxCache } from '../../lab/nginx.ts';
import { fakeNode, makeReleaseRepository } from '../../lab/release-repository.ts';
import { startSiteSquid } from '../../lab/site-squid.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { temporaryDirectory } from './web.ts';
import type { RolledOut } from './rollout-nodes.ts';

const NODES = 200;
const PROCESSES = 2;
const AT_ONCE = 50;
const nodes = fileURLToPath(new URL('rollout-nodes.ts', import.meta.url));
const pilotage = fileURLToPath(new URL('../../../pilotage.ts', import.meta.url));

const home = await makeTemporaryDirectory('rollout');
after(home.remove);
const lab = await makeReleaseRepository({
  directory: home.path,
  // What no compression makes smaller.
  pilotFiles: { 'more.bin': randomBytes(300_000) },
  nodeScript: Buffer.concat([Buffer.from(fakeNode), randomBytes(1_500_000)]),
});
const rootFile = join(home.path, 'root.json');
await writeFile(rootFile, lab.rootJson);

/** The cache of a site, as its nodes name it. */
const caches: Record<string, (t: TestContext, store: string) => Promise<string>> = {
  'through Squid': async (t, store) => (await startSiteSquid(t, store)).way,
  'behind nginx': async (t, store) => (await startNginxCache(t, store)).url,
  'behind our own cache': startOurs,
};

async function startOurs(t: TestContext, store: string): Promise<string> {
  const directory = await temporaryDirectory(t);
  const serve = ['cache', 'serve', '--listen', '127.0.0.1:0', '--upstream', store, '--dir', directory];
  const daemon = await startDaemon({
    name: 'our cache',
    command: process.execPath,
    args: [pilotage, ...serve],
    ready: ({ stdout }) => stdout().includes('"ready":true'),
  });
  t.after(() => daemon.kill());
  return (JSON.parse(daemon.stdout().split('\n')[0]!) as { url: string }).url;
}

for (const [name, start] of Object.entries(caches)) {
  test(`${name}, a rollout to ${NODES} nodes costs the store at most 1 % of its bytes`, async t => {
    const accessLog = join(await temporaryDirectory(t), 'access.log');
    const store = await serveStore({
      directory: lab.publicDirectory,
      listen: '127.0.0.1:0',
      log: silentLog,
      accessLog,
    });
    t.after(() => store.close());
    const task = {
      rootFile,
      directory: await temporaryDirectory(t),
      caches: [await start(t, store.url)],
      nodes: NODES / PROCESSES,
      atOnce: AT_ONCE / PROCESSES,
    };
    const run = async () =>
      JSON.parse(
        (await promisify(execFile)(process.execPath, [nodes, JSON.stringify(task)], { timeout: 280_000 }))
          .stdout,
      ) as RolledOut;
    const done = await Promise.all(Array.from({ length: PROCESSES }, run));
    await store.close();
    const lines = (await readFile(accessLog, 'utf8')).trimEnd().split('\n');
    const given = lines.reduce((sum, line) => sum + (JSON.parse(line) as { bytes: number }).bytes, 0);
    const sum = (of: (rolledOut: RolledOut) => number) => done.reduce((all, one) => all + of(one), 0);
    assert.equal(
      sum(({ installed }) => installed),
      NODES,
    );
    assert.deepEqual(
      done.flatMap(({ refusals }) => refusals),
      [],
    );
    const taken = sum(({ bytes }) => bytes);
    assert.ok(taken > NODES * 1_800_000);
    const ratio = 1 - given / taken;
    t.diagnostic(
      `byte hit ratio ${(100 * ratio).toFixed(2)} %: the store gave ${given} bytes, nodes took ${taken}`,
    );
    assert.ok(ratio >= 0.99, `${ratio}: ${given} of ${taken}`);
  });
}
