import assert from 'node:assert/strict';
import { join } from 'node:path';
import { readdir } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { systemClock } from '../../../lib/clock.ts';
import type { Clock } from '../../../lib/clock.ts';
import type { PilotageError } from '../../../lib/errors.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { cases, readTree, serveTree } from './forgery.ts';
import type { Tree } from './forgery.ts';
import { temporaryDirectory } from './web.ts';

let lab: ReleaseRepositoryLab;
let tree: Tree;
const home = await makeTemporaryDirectory('refusals-client');
after(home.remove);
before(async () => {
  lab = await makeReleaseRepository({ directory: home.path, queues: { 'Q-canary': 'canary' } });
  await lab.resign('root');
  await lab.publish();
  tree = await readTree(lab.publicDirectory);
});

test('each is refused with its own code, the file and the cache named, and nothing is unpacked', async t => {
  for (const { name, codes, names, tree: forged, trustFirst, floors, queue = 'Q1' } of await cases(
    lab,
    tree,
    6,
  )) {
    await t.test(name, async t => {
      let current = forged;
      const origin = await serveTree(t, () => current);
      const store = join(await temporaryDirectory(t), 'store');
      let clock: Clock = systemClock;
      const fetch = () =>
        fetchRelease({
          clock,
          patienceSeconds: 0,
          trustedRoot: lab.rootJson,
          storeDirectory: store,
          caches: [origin.url],
          queue,
          ...(floors && { floors }),
        });
      let unpacked: string[] = [];
      if (trustFirst === true) {
        current = tree;
        await fetch();
        unpacked = await readdir(join(store, 'unpacked'));
        current = forged;
        // Long enough for the node to ask again.
        clock = { ...systemClock, now: () => Date.now() + 31_000 };
      }
      const refusal = await fetch().then(
        () => assert.fail('it was accepted'),
        (error: PilotageError) => error,
      );
      assert.ok(
        codes.includes(refusal.code),
        `${refusal.code}: ${refusal.message} ${refusal.where} ${refusal.found}`,
      );
      assert.match(`${refusal.message} ${refusal.where}`, names);
      assert.ok(refusal.where?.startsWith(origin.url), `the cache is named: ${refusal.where}`);
      assert.deepEqual(await readdir(join(store, 'unpacked')), unpacked, 'nothing is unpacked');
      assert.ok(
        !(await readdir(store)).some(entry => entry.startsWith('tmp.')),
        'no half-made files are left',
      );
    });
  }
});

test('what was forged is accepted once it is put right', async t => {
  const origin = await serveTree(t, () => tree);
  const store = join(await temporaryDirectory(t), 'store');
  const { release, cache } = await fetchRelease({
    trustedRoot: lab.rootJson,
    storeDirectory: store,
    caches: [origin.url],
    queue: 'Q1',
  });
  assert.equal(release.version, '1.0.0');
  assert.equal(cache, origin.url);
});
