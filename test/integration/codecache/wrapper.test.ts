import assert from 'node:assert/strict';
import { chmod, lstat, mkdir, readFile, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { MAX_WRAPPER_BYTES, renderWrapper } from '../../../codecache/bootstrap/render-wrapper.ts';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { VerifiedRelease } from '../../../lib/protocol/release.ts';
import { silentLog } from '../../../lib/log.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { basics, onlyTools } from './bare-nodes.ts';
import { flip, newest, readTree, serveTree, sha256Of } from './forgery.ts';
import type { Tree } from './forgery.ts';
import { temporaryDirectory, waitUntil } from './web.ts';
import { runWrapper, startWrapper } from './wrapper-box.ts';

let lab: ReleaseRepositoryLab;
let tree: Tree;
const home = await makeTemporaryDirectory('wrapper');
after(home.remove);
before(async () => {
  lab = await makeReleaseRepository({ directory: home.path });
  tree = await readTree(lab.publicDirectory);
});

async function boxes(t: TestContext, caches: string[]) {
  const directory = await temporaryDirectory(t);
  const store = join(directory, 'store');
  const options = (box = 'box') => ({
    directory: join(directory, box),
    store,
    rootJson: lab.rootJson,
    caches,
  });
  return { directory, store, options };
}

const pathOf = (pattern: RegExp) => [...tree.keys()].find(path => pattern.test(path))!;

test('a wrapper with the default number of root keys is at most 20 kB of plain ASCII', () => {
  const wrapper = renderWrapper({ rootJson: lab.rootJson });
  assert.ok(Buffer.byteLength(wrapper) <= 20_000, `${Buffer.byteLength(wrapper)} bytes`);
  assert.ok(MAX_WRAPPER_BYTES >= 20_000);
  assert.match(wrapper, /^#!\/bin\/sh\n/);
  assert.match(wrapper, /^[\t\n\x20-\x7e]*$/);
  assert.doesNotMatch(wrapper, /@[A-Z]+@/);
  assert.throws(() => renderWrapper({ rootJson: '{"signatures":[' }), { code: 'E_WRAPPER_ROOT' });
  assert.throws(() => renderWrapper({ rootJson: lab.rootJson.toString().replace('{', "{'") }), {
    code: 'E_WRAPPER_ROOT',
  });
});

test('with five root keys of which three sign, it is still below 20 kB', async t => {
  const config = { root: { keys: 5, threshold: 3 } };
  const five = await makeReleaseRepository({ directory: await temporaryDirectory(t), config });
  const { signatures, signed } = JSON.parse(five.rootJson.toString()) as {
    signatures: unknown[];
    signed: { roles: { root: { threshold: number } } };
  };
  assert.deepEqual([signatures.length >= 3, signed.roles.root.threshold], [true, 3]);
  assert.ok(Buffer.byteLength(renderWrapper({ rootJson: five.rootJson })) < 20_000);
});

test('a cold node: verified, unpacked, run; the agent is told what was verified', async t => {
  const origin = await serveTree(t, () => tree);
  const { store, directory, options } = await boxes(t, [origin.url]);
  const run = await runWrapper(options());
  assert.equal(run.exit, 0, run.stderr);
  assert.deepEqual(run.result, { code: 'ok', exit: 0, cache: origin.url, message: 'the pilot ended' });
  const own = sha256Of(await readFile(join(directory, 'box/wrapper.sh')));
  assert.equal(run.stderr.split('\n')[0], `pilotage-wrapper: wrapper sha256 ${own}`);
  const said = JSON.parse(run.stdout.split('\n')[0]!) as { argv: string[] };
  assert.deepEqual(said.argv, ['run', '--bootstrap', 'bootstrap.json', '--verified', 'verified.json']);
  const verified = VerifiedRelease.parse(
    JSON.parse(await readFile(join(directory, 'box/verified.json'), 'utf8')),
  );
  assert.equal(verified.release.version, '1.0.0');
  assert.equal(verified.release.runtimeVersion, '26.10.0');
  assert.equal(verified.release.sha256, sha256Of(tree.get(pathOf(/pilot-1/))!));
  assert.equal(verified.release.channel, 'stable');
  assert.equal(verified.release.metadata.timestamp, newest(tree, 'timestamp').version);
  assert.equal(verified.cache, origin.url);
  assert.deepEqual((await readdir(store)).sort(), ['metadata', 'objects', 'unpacked']);
});

test('a warm node asks two things and downloads nothing', async t => {
  const origin = await serveTree(t, () => tree);
  const { options } = await boxes(t, [origin.url]);
  await runWrapper(options());
  origin.counts.clear();
  const run = await runWrapper(options());
  assert.equal(run.exit, 0, run.stderr);
  assert.deepEqual(
    [...origin.counts],
    [
      ['metadata/2.root.json', 1],
      ['metadata/timestamp.json', 1],
    ],
  );
});

test('what lies unpacked is hashed again at each start and fetched anew when damaged', async t => {
  const origin = await serveTree(t, () => tree);
  const { store, options } = await boxes(t, [origin.url]);
  await runWrapper(options());
  const pilot = join(store, 'unpacked', sha256Of(tree.get(pathOf(/pilot-1/))!), 'pilot.mjs');
  await writeFile(pilot, 'process.stdout.write("evil\\n")');
  origin.counts.clear();
  const run = await runWrapper(options());
  assert.equal(run.exit, 0, run.stderr);
  assert.doesNotMatch(run.stdout, /evil/);
  assert.equal(origin.count(pathOf(/pilot-1/)), 1);
  assert.equal(origin.count(pathOf(/node-/)), 0);
});

test('what was put beside the signed files, or a link in the place of one, is removed', async t => {
  const origin = await serveTree(t, () => tree);
  const { directory, store, options } = await boxes(t, [origin.url]);
  await runWrapper(options());
  const unpacked = join(store, 'unpacked', sha256Of(tree.get(pathOf(/pilot-1/))!));
  const pilot = join(unpacked, 'pilot.mjs');
  const elsewhere = join(directory, 'pilot.mjs');
  const signed = (await readdir(unpacked)).toSorted();
  for (const plant of [
    () => writeFile(join(unpacked, 'package.json'), '{}'),
    () => symlink('/tmp', join(unpacked, 'node_modules')),
    () => rename(pilot, elsewhere).then(() => symlink(elsewhere, pilot)),
  ]) {
    await plant();
    const { exit, stderr } = await runWrapper(options());
    assert.equal(exit, 0, stderr);
    assert.deepEqual((await readdir(unpacked)).toSorted(), signed);
    assert.ok((await lstat(pilot)).isFile());
  }
});

test('root rotation, a new release and a new timestamp are followed', async t => {
  const directory = await temporaryDirectory(t);
  const own = await makeReleaseRepository({ directory });
  const store = await serveStore({ directory: own.publicDirectory, listen: '127.0.0.1:0', log: silentLog });
  t.after(() => store.close(0));
  const options = {
    directory: join(directory, 'box'),
    store: join(directory, 'store'),
    rootJson: own.rootJson,
    caches: [store.url],
  };
  assert.equal((await runWrapper(options)).exit, 0);
  await own.resign('root');
  await own.addPilot('1.1.0');
  for (const channel of ['dev', 'canary', 'stable']) await own.promote({ version: '1.1.0', channel });
  await own.publish();
  await own.resign('root');
  await own.publish();
  const run = await runWrapper(options);
  assert.equal(run.exit, 0, run.stderr);
  const { release } = VerifiedRelease.parse(
    JSON.parse(await readFile(join(directory, 'box/verified.json'), 'utf8')),
  );
  assert.equal(release.version, '1.1.0');
  assert.equal(release.metadata.root, 3);
  await own.refresh();
  assert.equal((await runWrapper(options)).exit, 0);
});

test('past a lying and a dead cache the next one serves; the liar is named', async t => {
  const liar = await serveTree(t, () => flip(tree, pathOf(/pilot-1/), 100));
  const dead = await serveTree(t, () => tree);
  await dead.close();
  const honest = await serveTree(t, () => tree);
  const { options } = await boxes(t, [dead.url, liar.url, honest.url]);
  const run = await runWrapper(options());
  assert.equal(run.exit, 0, run.stderr);
  assert.equal(run.result.cache, honest.url);
  assert.match(run.result.message, new RegExp(`E_TARGET_HASH at ${liar.url}`));
  assert.match(run.stderr, new RegExp(`E_CACHE_UNREACHABLE ${dead.url}`));
  assert.equal(liar.count(pathOf(/pilot-1/)), 2, 'once, and once more past the cache');
  assert.equal(dead.counts.size, 0);
});

test('a damaged copy in a cache is got past with no-cache', async t => {
  let asked = 0;
  const path = newest(tree, 'snapshot').path;
  const bad = flip(tree, path, 50);
  const origin = await serveTree(t, () => (asked === 0 ? bad : tree));
  const { options } = await boxes(t, [origin.url]);
  const first = runWrapper(options());
  await waitUntil(() => origin.count(path) === 1, 'the damaged copy was fetched');
  asked = 1;
  const run = await first;
  assert.equal(run.exit, 0, run.stderr);
  assert.match(run.result.message, /E_TUF_HASH/);
  assert.equal(run.result.cache, origin.url);
});

test('a lock whose owner is gone is taken over', async t => {
  const origin = await serveTree(t, () => tree);
  const { store, options } = await boxes(t, [origin.url]);
  await mkdir(join(store, 'lock'), { recursive: true });
  await chmod(store, 0o700);
  await writeFile(join(store, 'lock/pid'), '999999999 1\n');
  const run = await runWrapper(options());
  assert.equal(run.exit, 0, run.stderr);
});

test('a node without one of the tools says which', async t => {
  const { directory, options } = await boxes(t, ['http://127.0.0.1:1']);
  const tools = await onlyTools(join(directory, 'tools'), [...basics, 'sh', 'awk']);
  const bare = () => runWrapper({ ...options(), shell: '/bin/sh', environment: { PATH: tools } });
  for (const [tool, message] of [
    [null, 'this node has no curl, no wget'],
    ['gzip', 'this node has no gzip'],
    ['openssl', 'this node has no openssl'],
    ['awk', 'this node has no awk'],
  ] as const) {
    if (tool !== null) await rm(join(tools, tool));
    const { exit, result } = await bare();
    assert.deepEqual([exit, result.code, result.message], [2, 'E_NODE_TOOL', message]);
  }
});

test('an unsafe store, an unreadable bootstrap and no cache at all have their own codes', async t => {
  const origin = await serveTree(t, () => tree);
  const { directory, store, options } = await boxes(t, [origin.url]);
  await mkdir(store, { mode: 0o755 });
  await chmod(store, 0o755);
  const open = await runWrapper(options());
  assert.deepEqual([open.exit, open.result.code], [2, 'E_STORE_UNSAFE']);
  await rm(store, { recursive: true });
  await mkdir(join(directory, 'elsewhere'), { mode: 0o700 });
  await symlink(join(directory, 'elsewhere'), store);
  assert.equal((await runWrapper(options())).result.code, 'E_STORE_UNSAFE');
  await rm(store);
  const evil = await runWrapper({ ...options(), caches: ["http://h/'; touch evil; '"] });
  assert.deepEqual([evil.exit, evil.result.code], [2, 'E_BOOTSTRAP']);
  assert.ok(!(await readdir(join(directory, 'box'))).includes('evil'));
  await origin.close();
  const gone = await runWrapper(options());
  assert.deepEqual([gone.exit, gone.result.code, gone.result.cache], [4, 'E_CACHE_UNREACHABLE', origin.url]);
});

test('a clock that is a year behind is refused as such; one that is ahead finds everything expired', async t => {
  const origin = await serveTree(t, () => tree);
  const { directory, options } = await boxes(t, [origin.url]);
  for (const [years, code] of [
    [-1, 'E_CLOCK'],
    [1, 'E_TUF_EXPIRED'],
  ] as const) {
    const tools = join(directory, `clock${years}`);
    await mkdir(tools);
    const at = Math.floor(Date.now() / 1000) + years * 366 * 86_400;
    await writeFile(join(tools, 'date'), `#!/bin/sh\nexec /usr/bin/date -d @${at} "$@"\n`, { mode: 0o755 });
    const run = await runWrapper({ ...options(), environment: { PATH: `${tools}:${process.env.PATH}` } });
    assert.deepEqual([run.exit, run.result.code], [3, code], run.stderr);
  }
  assert.equal((await runWrapper(options())).exit, 0, 'and the right time is accepted afterwards');
});

test('a warm node, too, checks expiry, floors and clock again', async t => {
  const origin = await serveTree(t, () => tree);
  const { directory, options } = await boxes(t, [origin.url]);
  assert.equal((await runWrapper(options())).exit, 0);
  const tools = join(directory, 'clock');
  await mkdir(tools);
  const at = Math.floor(Date.now() / 1000) + 2 * 86_400;
  await writeFile(join(tools, 'date'), `#!/bin/sh\nexec /usr/bin/date -d @${at} "$@"\n`, { mode: 0o755 });
  const late = await runWrapper({ ...options(), environment: { PATH: `${tools}:${process.env.PATH}` } });
  assert.equal(late.result.code, 'E_TUF_EXPIRED');
  assert.match(late.result.message, /timestamp/);
  const floors = { root: 0, timestamp: 0, snapshot: 0, channelSerials: { stable: 9 }, signedTimeMs: 0 };
  assert.equal((await runWrapper({ ...options(), floors })).result.code, 'E_CHANNEL_FLOOR');
});

test("signals reach the agent; its exit code is the wrapper's; its payload does not outlive it", async t => {
  const directory = await temporaryDirectory(t);
  const pilot = `
    import { spawn } from 'node:child_process';
    import { writeFileSync } from 'node:fs';
    const payload = spawn('sleep', ['300'], { detached: true, stdio: 'ignore' });
    writeFileSync('payload.pgid', String(payload.pid));
    process.on('SIGTERM', () => process.exit(7));
    process.on('SIGINT', () => process.exit(8));
    setInterval(() => undefined, 1000);
    writeFileSync('started', String(process.pid));
  `;
  const own = await makeReleaseRepository({ directory, pilotFiles: { 'pilot.mjs': pilot } });
  const origin = await serveTree(t, () => ownTree);
  const ownTree = await readTree(own.publicDirectory);
  for (const [signal, exit] of [
    ['SIGTERM', 7],
    ['SIGINT', 8],
    ['SIGKILL', 137],
  ] as const) {
    const box = await startWrapper({
      directory: join(directory, signal),
      store: join(directory, 'store'),
      rootJson: own.rootJson,
      caches: [origin.url],
    });
    const read = (name: string) => readFile(join(box.directory, name), 'utf8').catch(() => '');
    await waitUntil(async () => (await read('started')) !== '', 'the agent started', 30);
    const payload = Number(await read('payload.pgid'));
    if (signal === 'SIGKILL') process.kill(Number(await read('started')), signal);
    else box.child.kill(signal);
    const run = await box.ended;
    assert.equal(run.exit, exit, run.stderr);
    assert.equal(run.result.code, 'E_AGENT_EXIT');
    await waitUntil(() => !isAlive(payload), 'the payload is gone');
  }
});

test('a wrapper stopped while it downloads leaves nothing held', async t => {
  let stall = true;
  const slow = await serveTree(t, () => tree);
  const { upstream } = await import('./web.ts');
  const front = await upstream(t, (request, response) => {
    const body = tree.get((request.url ?? '').slice(1));
    if (stall && /node-/.test(request.url ?? ''))
      response.writeHead(200, { 'content-length': body!.length }).write('x');
    else response.writeHead(body === undefined ? 404 : 200).end(body);
  });
  const { store, options } = await boxes(t, [front.url]);
  const box = await startWrapper(options());
  await waitUntil(() => front.count(pathOf(/node-/)) === 1, 'the download began', 30);
  box.child.kill('SIGTERM');
  const run = await box.ended;
  assert.deepEqual([run.exit, run.result.code], [143, 'E_ABORTED']);
  assert.deepEqual((await readdir(store)).sort(), ['metadata', 'objects', 'unpacked']);
  stall = false;
  assert.equal((await runWrapper({ ...options(), caches: [slow.url] })).exit, 0);
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
