import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { cases, readTree, serveTree } from './forgery.ts';
import type { Tree } from './forgery.ts';
import { temporaryDirectory } from './web.ts';
import { runWrapper } from './wrapper-box.ts';

let lab: ReleaseRepositoryLab;
let tree: Tree;
const home = await makeTemporaryDirectory('refusals-wrapper');
after(home.remove);
before(async () => {
  lab = await makeReleaseRepository({ directory: home.path, queues: { 'Q-canary': 'canary' } });
  await lab.resign('root');
  await lab.publish();
  tree = await readTree(lab.publicDirectory);
});

test('each is refused with its own code, the file and the cache named, and nothing is unpacked', async t => {
  const all = await cases(lab, tree, 2);
  const one = async ({ name, codes, names, tree: forged, trustFirst, floors, queue }: (typeof all)[number]) =>
    t.test(name, async t => {
      let current = forged;
      const origin = await serveTree(t, () => current);
      const directory = await temporaryDirectory(t);
      const store = join(directory, 'store');
      const run = () =>
        runWrapper({
          directory: join(directory, 'box'),
          store,
          rootJson: lab.rootJson,
          caches: [origin.url],
          ...(queue !== undefined && { queue }),
          ...(floors && { floors }),
        });
      let unpacked: string[] = [];
      if (trustFirst === true) {
        current = tree;
        assert.equal((await run()).exit, 0);
        unpacked = await readdir(join(store, 'unpacked'));
        current = forged;
      }
      const { exit, result, stderr } = await run();
      assert.ok(codes.includes(result.code), `${JSON.stringify(result)}\n${stderr}`);
      assert.equal(exit, result.code === 'E_CACHE_UNREACHABLE' ? 4 : 3);
      assert.equal(result.exit, exit);
      assert.equal(result.cache, origin.url);
      assert.match(result.message, names);
      assert.deepEqual(await readdir(join(store, 'unpacked')), unpacked, 'nothing is unpacked');
      assert.deepEqual(
        (await readdir(store)).sort(),
        ['metadata', 'objects', 'unpacked'],
        'nothing half-made is left',
      );
      assert.ok(!(await readdir(join(directory, 'box'))).includes('verified.json') || trustFirst === true);
    });
  while (all.length > 0) await Promise.all(all.splice(0, 4).map(one));
});
