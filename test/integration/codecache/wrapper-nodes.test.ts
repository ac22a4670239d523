import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { wrapperProgram, renderWrapper } from '../../../codecache/bootstrap/render-wrapper.ts';
import { compareVersions } from '../../../signing/release/channels/compare-versions.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import rolloutVectors from '../../unit/codecache/client/rollout-vectors.json' with { type: 'json' };
import { bareNodes } from './bare-nodes.ts';
import type { BareNode } from './bare-nodes.ts';
import { flip, newest, readTree, serveTree } from './forgery.ts';
import type { Tree } from './forgery.ts';
import { runWrapper } from './wrapper-box.ts';

let lab: ReleaseRepositoryLab;
let tree: Tree;
let nodes: BareNode[];
const home = await makeTemporaryDirectory('wrapper-nodes');
after(home.remove);
before(async () => {
  lab = await makeReleaseRepository({ directory: home.path });
  tree = await readTree(lab.publicDirectory);
  nodes = await bareNodes(join(home.path, 'nodes'));
});

test('the wrapper verifies, installs and runs on each kind of node, cold and warm, and past a cache that lies', async t => {
  const origin = await serveTree(t, () => tree);
  const liar = await serveTree(t, () => flip(tree, newest(tree, 'snapshot').path, 200));
  for (const { name, shell, path } of nodes) {
    await t.test(name, async () => {
      const directory = join(home.path, name);
      const options = {
        directory: join(directory, 'box'),
        store: join(directory, 'store'),
        rootJson: lab.rootJson,
        caches: [`${liar.url}|${liar.url}`, origin.url],
        shell,
        environment: { PATH: path },
      };
      const cold = await runWrapper(options);
      assert.equal(cold.exit, 0, cold.stderr);
      assert.equal(cold.result.cache, origin.url);
      assert.match(cold.result.message, new RegExp(`E_TUF_HASH at ${liar.url}`));
      assert.match(cold.stdout, /"pilot":"fake"/);
      assert.deepEqual(await readFile(join(options.directory, 'root.json')), lab.rootJson);
      const asked = origin.count('metadata/timestamp.json');
      assert.equal((await runWrapper({ ...options, caches: [origin.url] })).exit, 0);
      assert.equal(origin.count('metadata/timestamp.json'), asked + 1);
      await rm(directory, { recursive: true });
    });
  }
});

test('what is packed in the wrapper can be read', () => {
  const wrapper = renderWrapper({ rootJson: lab.rootJson });
  const printed = execFileSync('sh', ['-c', wrapper, 'wrapper.sh', '--source'], { encoding: 'utf8' });
  assert.equal(printed, `${wrapperProgram()}\n`);
});

test('a wrapper that was cut on its way does nothing', () => {
  const wrapper = renderWrapper({ rootJson: lab.rootJson });
  for (const part of [0.3, 0.6, 0.95]) {
    const cut = wrapper.slice(0, Math.floor(wrapper.length * part));
    assert.throws(() => execFileSync('sh', ['-c', cut], { stdio: 'pipe' }), { stdout: Buffer.alloc(0) });
  }
});

/** Lines of a function of the program, up to its closing brace. */
const functionOf = (name: string): string =>
  new RegExp(String.raw`^(function )?${name}\(.*?^}$`, 'ms')
    .exec(wrapperProgram())![0]
    .replace(/; return$/, '');

test('each awk compares versions as the client does', () => {
  const versions = ['1', '1.0', '1.0.1', '1.2.10', '1.2.9', '2.0.0-rc.1', '2.0.0', '10', 'x', '1.x', '1.0x3'];
  const pairs = versions.flatMap(a => versions.map(b => [a, b] as const));
  const expected = pairs.map(([a, b]) => compareVersions(a, b)).join('\n');
  const program = `${functionOf('compare')}\n${functionOf('leading')}\n{ print compare($1, $2) }`;
  const input = pairs.map(pair => pair.join(' ')).join('\n');
  for (const { name, path } of nodes) {
    const got = execFileSync(join(path, 'awk'), [program], { input, encoding: 'utf8' });
    assert.equal(got.trim(), expected, name);
  }
});

test('each shell finds the same share of a rollout as the client', () => {
  const program = `work=$1; ${functionOf('digest')}\n${functionOf('share_of')}
    while IFS='|' read -r seed site node; do share_of "$seed" "$site" "$node"; echo "$share"; done`;
  const input = rolloutVectors.map(({ seed, site, node }) => `${seed}|${site}|${node}\n`).join('');
  const expected = rolloutVectors.map(({ bucket }) => bucket).join('\n');
  for (const { name, shell, path } of nodes) {
    const got = execFileSync(shell, ['-c', program, 'sh', home.path], {
      input,
      encoding: 'utf8',
      env: { PATH: path },
    });
    assert.equal(got.trim(), expected, name);
  }
});
