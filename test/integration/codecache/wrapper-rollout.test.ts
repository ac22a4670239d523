import assert from 'node:assert/strict';
import { mkdir, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { rolloutBucket } from '../../../codecache/client/choose-release.ts';
import { VerifiedRelease } from '../../../lib/protocol/release.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { shim } from './bare-nodes.ts';
import { forgePointer, readTree, serveTree } from './forgery.ts';
import type { Signed, Tree } from './forgery.ts';
import { temporaryDirectory } from './web.ts';
import { runWrapper } from './wrapper-box.ts';

let lab: ReleaseRepositoryLab;
let tree: Tree;
const home = await makeTemporaryDirectory('wrapper-rollout');
after(home.remove);
before(async () => {
  lab = await makeReleaseRepository({ directory: home.path });
  await lab.addPilot('1.1.0');
  for (const channel of ['dev', 'canary', 'stable']) await lab.promote({ version: '1.1.0', channel });
  await lab.publish();
  tree = await readTree(lab.publicDirectory);
});

interface Asked {
  edit: (pointer: Signed) => void;
  node?: string;
  site?: string;
  /** Seconds by which the node's clock is ahead. */
  ahead?: number;
  directory?: string;
}

/** What a node of this name starts by such a pointer: its version, or the code with which it refuses. */
async function started(t: TestContext, { edit, node = 'wn1', site = 'S', ahead = 0, directory }: Asked) {
  const origin = await serveTree(t, () => forged);
  const forged = await forgePointer(tree, lab, edit);
  const here = directory ?? (await temporaryDirectory(t));
  const tools = join(await temporaryDirectory(t), 'tools');
  await mkdir(tools);
  await shim(tools, 'uname', `[ "$1" != -n ] || { echo '${node}'; exit; }\nexec REAL "$@"`);
  const at = Math.floor(Date.now() / 1000) + ahead;
  if (ahead > 0) await shim(tools, 'date', `exec REAL -d @${at} "$@"`);
  const box = join(here, 'box');
  const run = await runWrapper({
    directory: box,
    store: join(here, 'store'),
    rootJson: lab.rootJson,
    caches: [origin.url],
    site,
    environment: { PATH: `${tools}:${process.env.PATH}` },
  });
  if (run.exit !== 0) {
    assert.equal(run.exit, 3, run.stderr);
    return run.result.code;
  }
  const verified: unknown = JSON.parse(await readFile(join(box, 'verified.json'), 'utf8'));
  return VerifiedRelease.parse(verified).release.version;
}

const rollout = (percent: number, sites: string[] = [], seed = '1.1.0') => ({ percent, seed, sites });

test('a node takes the new release when its share is rolled out, and the one before until then', async t => {
  const share = rolloutBucket('1.1.0', 'S', 'wn1');
  assert.ok(share > 0 && share < 99);
  for (const [percent, version] of [
    [0, '1.0.0'],
    [share, '1.0.0'],
    [share + 1, '1.1.0'],
    [100, '1.1.0'],
  ] as const) {
    assert.equal(await started(t, { edit: pointer => (pointer.rollout = rollout(percent)) }), version);
  }
  const other = rolloutBucket('1.1.0', 'S', 'wn2') < share + 1 ? '1.1.0' : '1.0.0';
  const edit = (pointer: Signed) => (pointer.rollout = rollout(share + 1));
  assert.equal(await started(t, { edit, node: 'wn2' }), other);
});

test('only nodes of the sites that are named take part', async t => {
  const edit = (pointer: Signed) => (pointer.rollout = rollout(100, ['DESY-HH', 'S']));
  assert.equal(await started(t, { edit }), '1.1.0');
  assert.equal(await started(t, { edit, site: 'OTHER' }), '1.0.0');
});

test('who is left nothing to start says so: halted, or withdrawn', async t => {
  const halted = (pointer: Signed) => {
    pointer.rollout = rollout(0);
    pointer.previous = null;
  };
  assert.equal(await started(t, { edit: halted }), 'E_CHANNEL_HALTED');
  const early = (pointer: Signed) => {
    pointer.not_before = Math.floor(Date.now() / 1000) + 3600;
    pointer.previous = null;
  };
  assert.equal(await started(t, { edit: early }), 'E_CHANNEL_HALTED');
  const withdrawn = (pointer: Signed) => {
    pointer.rollout = rollout(0);
    pointer.yanked = ['1.0.0'];
  };
  assert.equal(await started(t, { edit: withdrawn }), 'E_CHANNEL_YANKED');
});

test('a release that was withdrawn, and killed, and is signed no more, stops nobody who would start another', async t => {
  const edit = (pointer: Signed) => {
    pointer.rollout = rollout(0);
    pointer.yanked = ['1.1.0'];
    pointer.kill = ['1.1.0'];
    pointer.current.pilot.path = 'pilot/1.1.0/gone.tar.gz';
  };
  assert.equal(await started(t, { edit }), '1.0.0');
});

test('a pointer is followed from its time on, also by a node that was there before', async t => {
  const directory = await temporaryDirectory(t);
  const notBefore = Math.floor(Date.now() / 1000) + 600;
  const edit = (pointer: Signed) => (pointer.not_before = notBefore);
  assert.equal(await started(t, { edit, directory }), '1.0.0');
  assert.equal(await started(t, { edit, directory, ahead: 700 }), '1.1.0');
});

test('what one site or node found in a shared directory is not what another runs', async t => {
  const directory = await temporaryDirectory(t);
  const edit = (pointer: Signed) => (pointer.rollout = rollout(100, ['S']));
  assert.equal(await started(t, { edit, directory }), '1.1.0');
  assert.equal(await started(t, { edit, directory, site: 'OTHER' }), '1.0.0');
});

test('a seed may be any text that signed metadata may hold, and is text', async t => {
  const seed = "it's $(touch evil); `touch evil` & 100 % #1 ";
  const share = rolloutBucket(seed, 'S', 'wn1');
  const directory = await temporaryDirectory(t);
  for (const [percent, version] of [
    [share, '1.0.0'],
    [share + 1, '1.1.0'],
  ] as const) {
    const edit = (pointer: Signed) => (pointer.rollout = rollout(percent, [], seed));
    assert.equal(await started(t, { edit, directory }), version);
  }
  assert.ok(!(await readdir(join(directory, 'box'))).includes('evil'));
});
