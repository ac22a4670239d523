import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, open, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { askStore, findStoreAccess } from '../../../agent/store-access.ts';
import { takeNodeLock } from '../../../codecache/client/node-lock.ts';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { DEFAULT_STORE_BYTES } from '../../../codecache/client/prune-store.ts';
import { pinOf } from '../../../codecache/pin.ts';
import { systemClock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import type { Bootstrap } from '../../../lib/protocol/release.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import { readTree, serveTree } from '../codecache/forgery.ts';
import { upstream } from '../codecache/web.ts';

/** A pilot of a node whose first cache is overloaded. */
async function pilot(t: TestContext) {
  const directory = await temporaryDirectory(t, 'store-access');
  const lab = await makeReleaseRepository({ directory: join(directory, 'lab') });
  const tree = await readTree(lab.publicDirectory);
  let refused = 0;
  const busy = await upstream(t, (_request, response) => {
    refused += 1;
    response.writeHead(503, { 'retry-after': '60' }).end();
  });
  const origin = await serveTree(t, () => tree);
  const storeDirectory = join(directory, 'store');
  const trustedRoot = lab.rootJson;
  const { release } = await fetchRelease({ trustedRoot, storeDirectory, caches: [origin.url], queue: 'Q1' });
  await writeFile(join(directory, 'root.json'), trustedRoot);
  const bootstrap = { caches: [busy.url, origin.url], queue: 'Q1', site: 'none' } as unknown as Bootstrap;
  const options = { sandbox: directory, storeDirectory, bootstrap, clock: systemClock, log: silentLog };
  const access = await findStoreAccess(options);
  const ask = askStore(access!, release, silentLog);
  return {
    storeDirectory,
    refused: () => refused,
    asks: async () => (await ask({ floors: null, signal: AbortSignal.timeout(30_000) })).cache,
    origin: origin.url,
    /** As if nobody on the node had asked for long. */
    forgets: () => rm(join(storeDirectory, 'metadata', pinOf(trustedRoot), 'checked')),
  };
}

test('a pilot remembers from one question to the next which cache asked to be left alone', async t => {
  const { asks, forgets, origin, refused } = await pilot(t);
  await forgets();
  assert.equal(await asks(), origin);
  assert.equal(refused(), 1);
  await forgets();
  assert.equal(await asks(), origin);
  assert.equal(refused(), 1);
});

test('with each question the store of the node comes under its quota, unless somebody is at it', async t => {
  const { asks, storeDirectory } = await pilot(t);
  const old = join(storeDirectory, 'unpacked', 'ab'.repeat(32));
  await mkdir(old);
  const file = await open(join(old, 'large'), 'w');
  await file.truncate(DEFAULT_STORE_BYTES);
  await file.close();
  await utimes(old, 0, 0);
  const lock = await takeNodeLock({ storeDirectory, clock: systemClock });
  assert.equal(await asks(), 'local');
  assert.ok(existsSync(old));
  await lock.release();
  assert.equal(await asks(), 'local');
  assert.ok(!existsSync(old));
});
