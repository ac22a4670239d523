import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { systemClock } from '../../../lib/clock.ts';
import { ReleaseConfig } from '../../../signing/config/schema.ts';
import { openKeyDirectory } from '../../../signing/keys/key-directory.ts';
import { addRuntime } from '../../../signing/release/builds/add-release.ts';
import { amendRole, resignRole } from '../../../signing/release/repository/amend-role.ts';
import { initRepository } from '../../../signing/release/repository/init-repository.ts';
import { readPointer } from '../../../signing/release/channels/channel-pointer.ts';
import { places } from '../../../signing/release/layout.ts';
import { promote } from '../../../signing/release/channels/promote.ts';
import { publish } from '../../../signing/release/repository/publish.ts';
import { setQueueChannel } from '../../../signing/release/channels/queue-channel.ts';
import { readPublicDirectory } from '../../../signing/release/metadata/read-public.ts';
import { withRepository } from '../../../signing/release/repository/repository.ts';
import { fileStorage } from '../../../signing/release/storage/file-storage.ts';
import { writeTarget } from '../../../signing/release/repository/target-files.ts';
import { stableJson } from '../../../signing/stable-json.ts';
import { releaseLog } from '../../../signing/release/repository/verify-repository.ts';
import { verifyMetadata } from '../../../signing/release/metadata/verify-metadata.ts';
import {
  fakeNode,
  makeReleaseRepository,
  makeTarball,
  type ReleaseRepositoryLab,
} from '../../lab/release-repository.ts';

let directory: string;
let lab: ReleaseRepositoryLab;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pilotage-promote-'));
  lab = await makeReleaseRepository({ directory });
});
after(() => rm(directory, { recursive: true, force: true }));

async function visible() {
  await lab.publish();
  const bytes = await readPublicDirectory(lab.publicDirectory, lab.rootJson);
  return verifyMetadata(bytes, { nowMs: Date.now(), where: lab.publicDirectory });
}

const runtimeTarball = (version: string) =>
  makeTarball({
    file: join(directory, `node-${version}.tar.gz`),
    files: { 'bin/node': `${fakeNode}# ${version}\n` },
    executables: ['bin/node'],
  });

test('a promotion raises the serial, remembers what was before, and is not signed twice', async () => {
  await lab.addPilot('1.1.0');
  const first = await lab.promote({ version: '1.1.0', channel: 'canary' });
  assert.deepEqual([first.serial, first.previous, first.promoted], [2, '1.0.0', true]);
  const entries = (await releaseLog(lab.context)).length;
  const again = await lab.promote({ version: '1.1.0', channel: 'canary' });
  assert.deepEqual([again.serial, again.previous, again.promoted], [2, '1.0.0', false]);
  assert.equal((await releaseLog(lab.context)).length, entries);
  const { channels, targets } = await visible();
  assert.equal(channels.canary?.current.version, '1.1.0');
  assert.equal(channels.canary?.previous?.version, '1.0.0');
  assert.equal(channels.stable?.current.version, '1.0.0');
  const pilot = channels.canary.current.pilot;
  assert.equal(targets.get(pilot.path)?.hashes.sha256, pilot.sha256);
});

test('a promotion from channel to channel moves the same pilot and the same runtime, also when a newer one is there', async () => {
  await addRuntime({
    ...lab.context,
    tarball: await runtimeTarball('26.11.0'),
    version: '26.11.0',
    arch: 'linux-x64',
  });
  await lab.promote({ fromChannel: 'canary', channel: 'stable' });
  const { channels } = await visible();
  assert.deepEqual(channels.stable?.current, channels.canary?.current);
  assert.equal(channels.stable?.current.runtimes['linux-x64']?.version, '26.10.0');
  const newer = await lab.promote({ version: '1.1.0', channel: 'dev' });
  assert.deepEqual(newer.runtimes, { 'linux-x64': '26.11.0' });
  const pinned = await promote({
    ...lab.context,
    version: '1.1.0',
    channel: 'dev',
    runtimeVersion: '26.10.0',
  });
  assert.deepEqual(pinned.runtimes, { 'linux-x64': '26.10.0' });
});

test('going back to an older release is a new pointer, never an older one', async () => {
  const back = await lab.promote({ version: '1.0.0', channel: 'stable' });
  assert.deepEqual([back.serial, back.previous], [3, '1.1.0']);
});

test('the named people sign, and each signature is theirs', async () => {
  await lab.promote({ version: '1.1.0', channel: 'stable', keyNames: ['manager-3', 'manager-1'] });
  const entry = (await releaseLog(lab.context)).at(-1)!;
  assert.deepEqual(
    entry.keys.map(key => key.name),
    ['manager-3', 'manager-1'],
  );
  const file = await readFile(join(lab.directory, 'staged', `${entry.version}.stable.json`), 'utf8');
  const { signatures } = JSON.parse(file) as { signatures: { keyid: string }[] };
  assert.deepEqual(signatures.map(s => s.keyid).sort(), entry.keys.map(key => key.keyId).sort());
});

test('key files of the same names that are not the keys of this repository sign nothing', async () => {
  const keys = openKeyDirectory({
    directory: join(directory, 'other-keys'),
    clock: systemClock,
    passphrases: async () => 'other',
    scryptN: 1024,
  });
  for (const name of ['manager-1', 'manager-2']) await keys.create(name);
  const context = { ...lab.context, keys, channel: 'stable', version: '1.0.0' };
  await assert.rejects(promote(context), { code: 'E_THRESHOLD_NOT_MET', found: 'none of them' });
  await assert.rejects(promote({ ...context, keyNames: ['manager-1', 'manager-2'] }), {
    code: 'E_KEY_NOT_AUTHORIZED',
  });
});

test('a release that was withdrawn from a channel does not come back to it', async () => {
  await lab.addPilot('1.2.0');
  await withRepository(lab.context, async repository => {
    const pointer = (await readPointer(repository, 'dev'))!;
    const yanked = stableJson({ ...pointer, serial: pointer.serial + 1, yanked: ['1.2.0'] });
    const target = await writeTarget(repository.storage, 'channels/dev.json', yanked);
    await amendRole(repository, 'dev', [target], { action: 'promote' });
  });
  await assert.rejects(lab.promote({ version: '1.2.0', channel: 'dev' }), { code: 'E_CHANNEL_YANKED' });
  assert.equal((await lab.promote({ version: '1.2.0', channel: 'canary' })).promoted, true);
});

test('what clients have seen under a later serial, before a backup was restored, is signed once more', async () => {
  const { storage } = lab.context;
  const state = JSON.parse((await storage.read(places.state, 1 << 20))!.toString()) as object;
  const past = { 'canary.serial': 50, 'queues.serial': 60 };
  await storage.replace(places.state, Buffer.from(JSON.stringify({ ...state, past })));
  const again = await lab.promote({ version: '1.2.0', channel: 'canary' });
  assert.deepEqual([again.promoted, again.serial], [true, 51]);
  assert.equal((await lab.promote({ version: '1.2.0', channel: 'canary' })).promoted, false);
  const map = await lab.setQueueChannel('default', 'stable');
  assert.deepEqual([map.changed, map.serial], [true, 61]);
  assert.equal((await lab.setQueueChannel('default', 'stable')).changed, false);
  await storage.replace(places.state, Buffer.from(JSON.stringify(state)));
});

test('the queue map names queues, the default, and forgets a queue again', async () => {
  await lab.setQueueChannel('CERN', 'canary');
  await lab.setQueueChannel('123', 'dev');
  assert.equal((await lab.setQueueChannel('CERN', 'canary')).changed, false);
  await lab.setQueueChannel('default', 'dev');
  assert.deepEqual((await visible()).queues, {
    schema: 1,
    serial: 64,
    default: 'dev',
    queues: { CERN: 'canary', '123': 'dev' },
  });
  await lab.setQueueChannel('123', 'default');
  assert.deepEqual((await visible()).queues?.queues, { CERN: 'canary' });
  const context = { ...lab.context, queue: 'default', channel: 'default' };
  await assert.rejects(setQueueChannel(context), { code: 'E_CHANNEL_UNKNOWN' });
});

test('signing a role again keeps its content and moves its expiry', async () => {
  const before = await visible();
  const later = { ...lab.context, clock: { ...systemClock, now: () => Date.now() + 3_600_000 } };
  for (const role of ['root', 'targets', 'releases', 'stable', 'canary', 'dev', 'queues', 'trust'] as const) {
    await resignRole({ ...later, role });
  }
  const now = await visible();
  for (const [role, version] of Object.entries(before.versions)) {
    assert.equal(now.versions[role], version + 1, role);
    if (role !== 'timestamp' && role !== 'snapshot') {
      assert.ok(now.expiresMs[role]! > before.expiresMs[role]! + 3_000_000, role);
    }
  }
  assert.deepEqual(now.channels, before.channels);
  assert.deepEqual([...now.targets.keys()], [...before.targets.keys()]);
});

test('an empty repository says what is missing', async () => {
  const context = { ...lab.context, storage: fileStorage(join(directory, 'empty')) };
  await initRepository({ ...context, config: ReleaseConfig.parse({}) });
  await assert.rejects(promote({ ...context, fromChannel: 'canary', channel: 'stable' }), {
    code: 'E_CHANNEL_EMPTY',
  });
  await assert.rejects(promote({ ...context, version: '1.0.0', channel: 'stable' }), {
    code: 'E_VERSION_UNKNOWN',
    found: 'none at all',
  });
  assert.equal((await publish(context)).published, false);
});
