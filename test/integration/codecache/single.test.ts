import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { access, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { VerifiedRelease } from '../../../lib/protocol/release.ts';
import { version } from '../../../lib/version.ts';
import { buildSingle } from '../../../ops/build/build-single.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { forgePointer, readTree, serveTree } from './forgery.ts';
import type { Tree } from './forgery.ts';
import { temporaryDirectory, waitUntil } from './web.ts';
import { collect, startWrapper, writeBootstrap } from './wrapper-box.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const node = join(root, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node');
const missing = await access(node).then(
  () => false,
  () => `there is no ${node} to pack`,
);

const pilotFile = `
  process.stdout.write(JSON.stringify({ argv: process.argv.slice(2), store: process.env.PILOTAGE_STORE }) + '\\n');
  process.on('SIGTERM', () => process.exit(7));
  if (process.env.PILOTAGE_TEST_STAY) setInterval(() => undefined, 1000);
`;

let lab: ReleaseRepositoryLab;
let tree: Tree;
let executable: string;
const home = await makeTemporaryDirectory('single');
after(home.remove);
before(async () => {
  if (missing !== false) return;
  executable = (await buildSingle({ root, out: home.path })).file;
  lab = await makeReleaseRepository({ directory: home.path, pilotFiles: { 'pilot.mjs': pilotFile } });
  tree = await readTree(lab.publicDirectory);
});

async function box(t: TestContext, shown: Tree) {
  const origin = await serveTree(t, () => shown);
  const home = await temporaryDirectory(t);
  const directory = join(home, 'box');
  await writeBootstrap({ directory, caches: [origin.url] });
  await writeFile(join(home, 'pinned.json'), lab.rootJson);
  const store = join(home, 'store');
  const start = (environment: Record<string, string> = {}, args = ['--root', '../pinned.json']) => {
    const child = spawn(executable, args, {
      cwd: directory,
      env: {
        PATH: process.env.PATH,
        PILOTAGE_STORE: store,
        PILOTAGE_TEST_NODE: process.execPath,
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return { child, ended: collect(child) };
  };
  return { origin, directory, store, start };
}

test(
  'one file verifies, installs and runs the pilot, and shares the store of the wrapper',
  { skip: missing },
  async t => {
    const { origin, directory, store, start } = await box(t, tree);
    const run = await start().ended;
    assert.deepEqual(
      run.result,
      { code: 'ok', exit: 0, cache: origin.url, message: 'the pilot ended' },
      run.stderr,
    );
    assert.equal(run.exit, 0);
    assert.deepEqual(JSON.parse(run.stdout.split('\n')[0]!), {
      argv: ['run', '--bootstrap', 'bootstrap.json', '--verified', 'verified.json'],
      store,
    });
    assert.deepEqual(await readFile(join(directory, 'root.json')), lab.rootJson);
    const verified: unknown = JSON.parse(await readFile(join(directory, 'verified.json'), 'utf8'));
    assert.equal(VerifiedRelease.parse(verified).release.version, '1.0.0');
    origin.counts.clear();
    const wrapped = await startWrapper({ directory, store, rootJson: lab.rootJson, caches: [origin.url] });
    const { result, stderr } = await wrapped.ended;
    assert.deepEqual([result.code, result.cache], ['ok', 'local'], stderr);
    const again = await start().ended;
    assert.deepEqual([again.result.code, again.result.cache], ['ok', 'local'], again.stderr);
    assert.deepEqual([...origin.counts], [], 'neither asked again for what the other had just verified');
  },
);

test(
  'it refuses what the wrapper refuses, with the same code, and unpacks nothing',
  { skip: missing },
  async t => {
    const yanked = await forgePointer(tree, lab, pointer => (pointer.yanked = ['1.0.0']));
    const { store, start } = await box(t, yanked);
    const run = await start().ended;
    assert.deepEqual([run.exit, run.result.code], [3, 'E_CHANNEL_YANKED'], run.stderr);
    assert.deepEqual(await readdir(join(store, 'unpacked')), []);
  },
);

test('it says what it cannot use, in the form of the wrapper', { skip: missing }, async t => {
  const { directory, origin, start } = await box(t, tree);
  assert.equal((await start({}, ['--root', 'none.json']).ended).result.code, 'E_FILE_MISSING');
  assert.equal((await start({}, ['--nonsense']).ended).result.code, 'E_USAGE');
  assert.equal((await start({ PILOTAGE_STALL_SECONDS: '0' }).ended).result.code, 'E_USAGE');
  await origin.close();
  const gone = await start().ended;
  assert.deepEqual([gone.exit, gone.result.code], [4, 'E_CACHE_UNREACHABLE']);
  await writeFile(join(directory, 'bootstrap.json'), '{}');
  const bad = await start().ended;
  assert.deepEqual([bad.exit, bad.result.code], [2, 'E_CONFIG_INVALID']);
});

test('signals reach the pilot, and its exit code is that of the executable', { skip: missing }, async t => {
  const { directory, start } = await box(t, tree);
  const { child, ended } = start({ PILOTAGE_TEST_STAY: '1' });
  let said = '';
  child.stdout.on('data', chunk => (said += String(chunk)));
  await waitUntil(() => said.includes('argv'), 'the pilot started', 30);
  child.kill('SIGTERM');
  const run = await ended;
  assert.deepEqual([run.exit, run.result.code], [7, 'E_AGENT_EXIT'], run.stderr);
  assert.ok((await readdir(directory)).includes('verified.json'));
});

test('it says its version and how it is used, whatever NODE_OPTIONS says', { skip: missing }, async () => {
  const said = async (flag: string) => {
    const child = spawn(executable, [flag], { env: { NODE_OPTIONS: '--import=file:///nowhere.mjs' } });
    let text = '';
    child.stdout.on('data', chunk => (text += String(chunk)));
    assert.equal(await new Promise(resolve => child.on('close', resolve)), 0);
    return text;
  };
  assert.equal(await said('--version'), `${version}\n`);
  assert.match(await said('--help'), /^Usage: pilotage-node/);
});
