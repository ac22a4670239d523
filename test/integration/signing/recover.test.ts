import assert from 'node:assert/strict';
import { cp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { systemClock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import { resignRole } from '../../../signing/release/repository/amend-role.ts';
import { publicSource } from '../../../signing/release/mirror/public-source.ts';
import { raisePast, recoverRepository } from '../../../signing/release/mirror/recover.ts';
import { syncMirror } from '../../../signing/release/mirror/sync-mirror.ts';
import { withRepository } from '../../../signing/release/repository/repository.ts';
import { rotateKey } from '../../../signing/release/repository/rotate-key.ts';
import { exportRequest } from '../../../signing/release/sign/export-request.ts';
import { importRequest } from '../../../signing/release/sign/import-request.ts';
import { signRequest } from '../../../signing/release/sign/sign-request.ts';
import { promote } from '../../../signing/release/channels/promote.ts';
import { fileStorage } from '../../../signing/release/storage/file-storage.ts';
import { releaseLog, verifyRepository } from '../../../signing/release/repository/verify-repository.ts';
import { keptNode } from '../../lab/kept-node.ts';
import { releaseCommand } from '../../lab/release-command.ts';
import { makeReleaseRepository, type ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import { runWrapper } from '../codecache/wrapper-box.ts';

/** A repository with a backup of its first day, a mirror, and two nodes that have seen what came since. */
async function afterALoss(t: TestContext, since: (lab: ReleaseRepositoryLab) => Promise<void>) {
  const directory = await temporaryDirectory(t, 'recover');
  const lab = await makeReleaseRepository({ directory });
  const backup = join(directory, 'backup');
  await cp(lab.directory, backup, { recursive: true });
  const mirror = join(directory, 'mirror');
  const store = await serveStore({ directory: lab.publicDirectory, listen: '127.0.0.1:0', log: silentLog });
  t.after(() => store.close());
  const { rootJson, arch } = lab;
  const client = keptNode({ storeDirectory: join(directory, 'client'), rootJson, arch });
  let pilots = 0;
  const wrapper = async () => {
    const { result } = await runWrapper({
      directory: join(directory, `sandbox-${(pilots += 1)}`),
      store: join(directory, 'wrapper'),
      rootJson,
      caches: [store.url],
    });
    return result.code;
  };
  const nodes = async () => [await client(store.url), await wrapper()];
  assert.deepEqual(await nodes(), ['1.0.0', 'ok']);
  await since(lab);
  await syncMirror({
    sources: [publicSource(lab.publicDirectory)],
    to: fileStorage(mirror),
    trustedRoot: rootJson,
    clock: systemClock,
  });
  assert.deepEqual(await nodes(), ['1.1.0', 'ok']);
  await rm(lab.directory, { recursive: true });
  await cp(backup, lab.directory, { recursive: true });
  return { directory, lab, mirror: join(mirror, 'public'), nodes };
}

const release = async (lab: ReleaseRepositoryLab, version: string) => {
  await lab.addPilot(version);
  await lab.promote({ version, channel: 'stable' });
  await lab.publish();
};

test('a repository restored from a backup takes back what a mirror has, and nodes move forward', async t => {
  const { lab, mirror, nodes, directory } = await afterALoss(t, async lab => {
    await lab.refresh();
    await release(lab, '1.1.0');
    await lab.resign('root');
    await lab.publish();
    await lab.refresh();
  });
  // The refresh daemon ran on, and somebody signed, before anybody noticed.
  await lab.refresh();
  await lab.promote({ version: '1.0.0', channel: 'dev' });
  await lab.addPilot('1.0.9');
  const refused = await nodes();
  assert.ok(
    refused.every(code => /^E_TUF_(STALE|ROLLBACK)$/.test(code)),
    refused.join(),
  );
  const lost = await releaseLog(lab.context);

  const result = await recoverRepository({ ...lab.context, from: publicSource(mirror) });
  assert.equal(result.root, 2);
  assert.match(result.dropped.join('\n'), /^4\.releases\.json \(staged\): that version is public/);
  const aside = await readFile(result.setAside!, 'utf8');
  assert.ok(aside.trim().split('\n').length > 0);
  const log = await releaseLog(lab.context);
  assert.equal(log.at(-1)?.action, 'recover');
  for (const { at, action } of lost.slice(-2)) {
    assert.ok(!log.some(entry => entry.at === at && entry.action === action));
    assert.ok(aside.includes(at));
  }
  assert.deepEqual(await nodes(), ['1.1.0', 'ok']);
  await verifyRepository(lab.context);
  await release(lab, '1.2.0');
  assert.deepEqual(await nodes(), ['1.2.0', 'ok']);

  const again = await recoverRepository({ ...lab.context, from: publicSource(mirror) });
  assert.deepEqual([again.changed, again.dropped, again.setAside], [false, [], null]);
  assert.deepEqual(await nodes(), ['1.2.0', 'ok']);

  const run = await releaseCommand(directory);
  const said = await run(`recover --from ${mirror} --repo ${lab.directory}`.split(' '));
  assert.equal(said.code, 0, said.stderr);
  assert.match(said.stdout, /^Everything is there already/);
  assert.equal((await run(`recover --repo ${lab.directory}`.split(' '))).code, 2);
});

test('with no copy left, the next versions go past what nodes have seen', async t => {
  const { lab, nodes } = await afterALoss(t, async lab => {
    await lab.promote({ version: '1.0.0', channel: 'canary' });
    await release(lab, '1.1.0');
    await lab.refresh();
  });
  await release(lab, '1.1.5');
  const refused = await nodes();
  assert.ok(
    refused.every(code => code.startsWith('E_')),
    refused.join(),
  );
  for (const past of ['root=3', 'stable', 'stable=1x', 'dev.version=2', '']) {
    await assert.rejects(raisePast({ ...lab.context, past }), { code: 'E_VERSION_INVALID' });
  }
  const past = 'timestamp=100,snapshot=50,targets=1,releases=20,stable=20,canary=20,stable.serial=9';
  await raisePast({ ...lab.context, past });
  await raisePast({ ...lab.context, past: 'timestamp=7' });
  const { context } = lab;
  for (const role of ['releases', 'canary'] as const) await resignRole({ ...context, role });
  await lab.addPilot('1.3.0');
  const { serial } = await lab.promote({ version: '1.3.0', channel: 'stable' });
  assert.equal(serial, 10);
  const { timestamp, snapshot } = await lab.publish();
  assert.deepEqual([timestamp, snapshot], [101, 51]);
  assert.deepEqual(await nodes(), ['1.3.0', 'ok']);
  assert.equal((await lab.refresh()).timestamp, 102);
  const { roles } = await verifyRepository(lab.context);
  assert.deepEqual([roles.releases?.version, roles.stable?.version], [22, 21]);
});

test('people apart and new keys go past what clients have seen, too', async t => {
  const lab = await makeReleaseRepository({ directory: await temporaryDirectory(t, 'recover') });
  await raisePast({ ...lab.context, past: 'stable=20,targets=30,dev=40,stable.serial=9' });
  const anna = { ...lab.context, propose: true, keyNames: ['manager-1'] };
  await lab.addPilot('1.1.0');
  await promote({ ...anna, version: '1.1.0', channel: 'stable' });
  const request = await withRepository(anna, repository => exportRequest(repository));
  let shown = '';
  const { request: signed } = await signRequest({
    request,
    where: 'request',
    keys: lab.keys,
    keyNames: ['manager-2'],
    nowMs: Date.now(),
    pinnedRoot: lab.rootJson,
    confirm: async text => {
      shown = text;
      return true;
    },
  });
  assert.match(
    shown,
    /stable version 21, [^]*stable: the version jumps from 2 to 21: right only after a loss/,
  );
  assert.match(shown, /serial 1 -> 10/);
  const [item] = await withRepository(anna, repository => importRequest(repository, signed, 'request'));
  assert.equal(item!.state, 'staged');
  await rotateKey({ ...lab.context, roles: ['dev'], remove: ['manager-1'], withoutNew: true });
  const again = { roles: ['stable'] as const, remove: ['manager-1'], withoutNew: true };
  const rotated = await rotateKey({ ...lab.context, ...again });
  assert.deepEqual(rotated.signed, [
    { role: 'targets', version: 32 },
    { role: 'stable', version: 22 },
  ]);
  await lab.publish();
  const { roles } = await verifyRepository(lab.context);
  assert.deepEqual([roles.targets?.version, roles.stable?.version, roles.dev?.version], [32, 22, 41]);
});

test('what was lost or damaged in a repository comes back from a copy', async t => {
  const directory = await temporaryDirectory(t, 'recover');
  const lab = await makeReleaseRepository({ directory });
  const copy = join(directory, 'copy');
  await cp(lab.publicDirectory, copy, { recursive: true });
  const names = await readdir(lab.publicDirectory, { recursive: true });
  const versionOf = (name: string) => Number(/(\d+)\.[a-z]+\.json$/.exec(name)?.[1] ?? 0);
  const isOld = (name: string) =>
    /metadata\/\d/.test(name) &&
    names.some(other => other.split('.')[1] === name.split('.')[1] && versionOf(other) > versionOf(name));
  const current = names
    .filter(name => /\.(json|jsonl|gz)$/.test(name) && !/1\.root/.test(name) && !isOld(name))
    .map(name => join(lab.publicDirectory, name));
  assert.ok(current.length >= 12);
  for (const [index, file] of current.entries()) {
    const before = await readFile(file);
    await (index % 2 === 0 ? rm(file) : writeFile(file, 'damaged'));
    await recoverRepository({ ...lab.context, from: publicSource(copy) });
    if (!file.endsWith('log.jsonl')) assert.ok((await readFile(file)).equals(before), file);
  }
  await verifyRepository(lab.context);
});
