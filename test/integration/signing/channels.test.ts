import assert from 'node:assert/strict';
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chooseRelease, takesPart } from '../../../codecache/client/choose-release.ts';
import { systemClock } from '../../../lib/clock.ts';
import type { ChannelPointer } from '../../../lib/protocol/release.ts';
import { openKeyDirectory } from '../../../signing/keys/key-directory.ts';
import { addRuntime } from '../../../signing/release/builds/add-release.ts';
import { halt, resume } from '../../../signing/release/channels/halt.ts';
import { describeChannel } from '../../../signing/release/channels/describe-channel.ts';
import { listChannels } from '../../../signing/release/channels/list-channels.ts';
import { promote } from '../../../signing/release/channels/promote.ts';
import { readPublicDirectory } from '../../../signing/release/metadata/read-public.ts';
import { revoke } from '../../../signing/release/channels/revoke.ts';
import { verifyMetadata } from '../../../signing/release/metadata/verify-metadata.ts';
import { releaseLog, verifyRepository } from '../../../signing/release/repository/verify-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import {
  fakeNode,
  makeReleaseRepository,
  makeTarball,
  type ReleaseRepositoryLab,
} from '../../lab/release-repository.ts';

let directory: string;
let lab: ReleaseRepositoryLab;
let remove: () => Promise<void>;
before(async () => {
  ({ path: directory, remove } = await makeTemporaryDirectory('channels'));
  lab = await makeReleaseRepository({ directory });
  for (const version of ['1.1.0', '1.2.0', '1.3.0', '1.4.0', '1.5.0']) await lab.addPilot(version);
});
after(() => remove());

/** What a node is given by the signed pointer of a channel, as the newest command left it. */
async function pointerOf(channel: string): Promise<ChannelPointer> {
  return (await listChannels(lab.context)).find(entry => entry.channel === channel)!.pointer!;
}

/** Version that a node takes, or the code it is refused with. */
function taken(pointer: ChannelPointer, node: string, site = 'CERN', nowMs = Date.now()): string {
  try {
    return chooseRelease(pointer, { arch: 'linux-x64', nowMs, site, node }, 'here').version;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

const nodes = Array.from({ length: 400 }, (_, index) => `node-${index}`);
const entries = async () => (await releaseLog(lab.context)).length;

test('a percentage takes in its share of the nodes, widening keeps them, and a new release draws others', async () => {
  const ten = (await lab.promote({ version: '1.1.0', channel: 'canary', percent: 10 })).pointer;
  const first = nodes.filter(node => taken(ten, node) === '1.1.0');
  assert.ok(first.length > 15 && first.length < 75, `${first.length} of 400`);
  assert.ok(nodes.every(node => first.includes(node) || taken(ten, node) === '1.0.0'));
  const log = await entries();
  assert.equal((await lab.promote({ version: '1.1.0', channel: 'canary', percent: 10 })).promoted, false);
  assert.equal(await entries(), log, 'nothing was signed again');

  const half = (await lab.promote({ version: '1.1.0', channel: 'canary', percent: 50 })).pointer;
  assert.deepEqual([half.serial, half.rollout.seed], [ten.serial + 1, ten.rollout.seed]);
  assert.ok(first.every(node => taken(half, node) === '1.1.0'));
  assert.ok(nodes.some(node => taken(half, node) === '1.0.0'));
  assert.equal(half.previous?.version, '1.0.0');

  const next = (await lab.promote({ version: '1.2.0', channel: 'canary', percent: 10 })).pointer;
  assert.notEqual(next.rollout.seed, half.rollout.seed);
  assert.match(next.rollout.seed, /^[\x20-\x7e]{1,64}$/);
  assert.notDeepEqual(
    nodes.filter(node => taken(next, node) === '1.2.0'),
    first,
  );
  assert.equal(next.previous?.version, '1.0.0', 'what half of the nodes had is not what all fall back on');
  const all = (await lab.promote({ version: '1.2.0', channel: 'canary' })).pointer;
  assert.ok(nodes.every(node => taken(all, node) === '1.2.0'));
  const after = (await lab.promote({ version: '1.3.0', channel: 'canary', percent: 1 })).pointer;
  assert.equal(after.previous?.version, '1.2.0', 'what every node had is');
});

test('sites, a start date and a previous release of choice are kept to', async () => {
  const { pointer } = await lab.promote({
    version: '1.1.0',
    channel: 'dev',
    sites: ['DESY', 'CERN', 'CERN'],
  });
  assert.deepEqual(pointer.rollout.sites, ['CERN', 'DESY']);
  assert.deepEqual([taken(pointer, 'n', 'CERN'), taken(pointer, 'n', 'BNL')], ['1.1.0', '1.0.0']);
  assert.match(
    describeChannel(pointer, 0),
    /^every node at CERN, DESY starts 1\.1\.0, all others start 1\.0\.0$/,
  );
  const notBefore = 2_000_000_000;
  const later = (await lab.promote({ version: '1.1.0', channel: 'dev', notBefore, previous: '1.2.0' }))
    .pointer;
  assert.equal(taken(later, 'n'), '1.2.0');
  assert.equal(taken(later, 'n', 'CERN', notBefore * 1000), '1.1.0');
  assert.match(
    describeChannel(later, 0),
    /^until 2033-05-18T03:33:20\.000Z every node starts 1\.2\.0; then every/,
  );
});

test('the least version only goes up, and never above what is promoted', async () => {
  const channel = 'dev';
  const code = 'E_CHANNEL_INVALID';
  const raised = await lab.promote({ version: '1.2.0', channel, minVersion: '1.1.5' });
  assert.deepEqual([raised.pointer.min_version, raised.previous], ['1.1.5', null]);
  assert.match(
    describeChannel({ ...raised.pointer, rollout: { ...raised.pointer.rollout, percent: 5 } }, 0),
    /5 % of the nodes start 1\.2\.0, all others start nothing \(there is no previous release\)/,
  );
  assert.equal((await lab.promote({ version: '1.3.0', channel })).pointer.min_version, '1.1.5', 'it stays');
  await assert.rejects(lab.promote({ version: '1.1.0', channel }), { code, found: '1.1.0' });
  await assert.rejects(lab.promote({ version: '1.2.0', channel, minVersion: '1.3.0' }), { code });
  await assert.rejects(lab.promote({ version: '1.2.0', channel, minVersion: '1.0.0' }), {
    code,
    rule: /--lower-min-version/,
  });
  await assert.rejects(lab.promote({ version: '1.2.0', channel, minVersion: 'newest' }), { code });
  await assert.rejects(lab.promote({ version: '1.2.0', channel, sites: ['no site'] }), { code });
  const lowered = await lab.promote({ version: '1.1.0', channel, minVersion: '1.0.0', lowersFloor: true });
  assert.equal(lowered.pointer.min_version, '1.0.0');
});

test('a halt sends every node back, once, and a resumption takes the same nodes as before', async () => {
  const begun = (await lab.promote({ version: '1.4.0', channel: 'canary', percent: 30 })).pointer;
  const halted = await halt({ ...lab.context, channel: 'canary' });
  assert.equal(halted.changed, true);
  assert.ok(nodes.every(node => taken(halted.pointer, node) === '1.2.0'));
  assert.equal(describeChannel(halted.pointer, 0), 'halted: every node starts 1.2.0');
  const log = await entries();
  assert.equal((await halt({ ...lab.context, channel: 'canary' })).changed, false);
  assert.equal(await entries(), log);
  const resumed = await resume({ ...lab.context, channel: 'canary' });
  assert.deepEqual(resumed.pointer.rollout, begun.rollout);
  assert.equal((await resume({ ...lab.context, channel: 'canary' })).changed, false);
  await assert.rejects(resume({ ...lab.context, channel: 'canary', percent: 60 }), { code: 'E_USAGE' });
  await halt({ ...lab.context, channel: 'canary' });
  const wider = await resume({ ...lab.context, channel: 'canary', percent: 60 });
  assert.equal(wider.pointer.rollout.percent, 60);
  assert.ok(
    nodes.filter(n => takesPart(begun.rollout, '', n)).every(n => takesPart(wider.pointer.rollout, '', n)),
  );
});

test('what was halted does not come back as the previous release of the next one', async () => {
  await halt({ ...lab.context, channel: 'canary' });
  const next = (await lab.promote({ version: '1.5.0', channel: 'canary', percent: 10 })).pointer;
  assert.equal(next.previous?.version, '1.2.0');
});

test('a halt with nothing to go back to is refused', async () => {
  await lab.promote({ version: '1.5.0', channel: 'canary', previous: '1.5.0' });
  await assert.rejects(halt({ ...lab.context, channel: 'canary' }), { code: 'E_CHANNEL_NO_PREVIOUS' });
  await lab.promote({ version: '1.4.0', channel: 'dev', minVersion: '1.4.0' });
  await assert.rejects(halt({ ...lab.context, channel: 'dev' }), {
    code: 'E_CHANNEL_NO_PREVIOUS',
    found: 'none',
    fix: /release revoke 1\.4\.0/,
  });
  await lab.promote({ version: '1.4.0', channel: 'dev', percent: 0 });
  await lab.promote({ version: '1.5.0', channel: 'dev', percent: 0 });
  await assert.rejects(resume({ ...lab.context, channel: 'dev' }), { code: 'E_USAGE', fix: /--percent/ });
});

test('clients verify every one of these pointers, before and after they are public', async () => {
  await lab.publish();
  const bytes = await readPublicDirectory(lab.publicDirectory, lab.rootJson);
  const { channels } = verifyMetadata(bytes, { nowMs: Date.now(), where: lab.publicDirectory });
  assert.deepEqual(channels.canary, await pointerOf('canary'));
});

test('a revocation leaves every channel without the release, in one publication, and is done once', async () => {
  await addRuntime({
    ...lab.context,
    tarball: await makeTarball({
      file: join(directory, 'node-26.11.0.tar.gz'),
      files: { 'bin/node': `${fakeNode}# newer\n` },
      executables: ['bin/node'],
    }),
    version: '26.11.0',
    arch: 'linux-x64',
  });
  const lower = { minVersion: '1.0.0', lowersFloor: true };
  await lab.promote({ version: '1.3.0', channel: 'stable' }); // stable: the release itself, 1.0.0 before it
  await lab.promote({ version: '1.3.0', channel: 'canary' });
  await lab.promote({ version: '1.4.0', channel: 'canary', percent: 10 }); // canary: on its way out
  await lab.promote({ version: '1.3.0', channel: 'dev', ...lower, previous: '1.2.0', percent: 20 });
  await lab.publish();
  const before = await pointerOf('dev');
  const done = await revoke({ ...lab.context, version: '1.3.0', to: '1.2.0' });
  assert.equal(done.releases, 'removed');
  assert.deepEqual(
    done.channels.map(({ channel, state, effect }) => [channel, state, effect]),
    [
      ['stable', 'signed', 'every node starts 1.2.0'],
      ['canary', 'signed', '10 % of the nodes start 1.4.0, all others start 1.2.0'],
      ['dev', 'signed', 'every node starts 1.2.0'],
    ],
  );
  const stable = await pointerOf('stable');
  assert.deepEqual([stable.yanked, stable.kill, stable.previous?.version], [['1.3.0'], [], '1.0.0']);
  assert.deepEqual(stable.current.runtimes, before.current.runtimes, 'the runtime stays the same');
  assert.notEqual(stable.rollout.seed, before.rollout.seed);
  const published = await lab.publish();
  assert.equal(published.files.filter(file => file.includes('snapshot')).length, 1);

  const log = await entries();
  const again = await revoke({ ...lab.context, version: '1.3.0', to: '1.2.0' });
  assert.deepEqual([again.changed, again.releases], [false, 'absent']);
  assert.ok(again.channels.every(({ state }) => state === 'unchanged'));
  assert.equal(await entries(), log);
  const killed = await revoke({ ...lab.context, version: '1.3.0', kill: true });
  assert.ok(killed.channels.every(({ pointer }) => pointer.kill.includes('1.3.0')));
  await assert.rejects(lab.promote({ version: '1.3.0', channel: 'stable' }), { code: 'E_VERSION_UNKNOWN' });
});

test('without anything to put in its place no node starts, and the metadata of that is good', async () => {
  await lab.promote({ version: '1.4.0', channel: 'dev', minVersion: '1.4.0' });
  await lab.publish();
  const { channels, releases } = await revoke({ ...lab.context, version: '1.4.0' });
  assert.equal(releases, 'removed');
  const effects = Object.fromEntries(channels.map(({ channel, effect }) => [channel, effect]));
  assert.equal(effects.dev, 'every node refuses to start: 1.4.0 was withdrawn');
  assert.equal(effects.canary, 'every node starts 1.2.0', 'its rollout is over');
  await lab.publish();
  assert.equal(taken(await pointerOf('dev'), 'n'), 'E_CHANNEL_YANKED');
  assert.equal((await verifyRepository(lab.context)).channels.dev?.version, '1.4.0');
  // The way out needs no more than a promotion.
  await lab.promote({ version: '1.5.0', channel: 'dev' });
  assert.equal((await pointerOf('dev')).previous, null);
  assert.equal(taken(await pointerOf('dev'), 'n'), '1.5.0');
});

test('a replacement has to be fit itself, a version has to be known, and one channel can be meant', async () => {
  const version = '1.5.0';
  await assert.rejects(revoke({ ...lab.context, version: '9.9.9' }), { code: 'E_VERSION_UNKNOWN' });
  await assert.rejects(revoke({ ...lab.context, version, to: '9.9.9' }), { code: 'E_VERSION_UNKNOWN' });
  await assert.rejects(revoke({ ...lab.context, version, to: '1.5.0' }), { code: 'E_CHANNEL_YANKED' });
  await assert.rejects(revoke({ ...lab.context, version, to: '1.2.0' }), {
    code: 'E_CHANNEL_YANKED',
    found: '1.2.0',
  });
  await lab.promote({ version, channel: 'stable' });
  const one = await revoke({ ...lab.context, version, channels: ['stable'] });
  assert.deepEqual([one.releases, one.channels.map(({ channel }) => channel)], ['kept', ['stable']]);
  assert.equal(taken(await pointerOf('stable'), 'n'), '1.2.0');
  assert.equal(taken(await pointerOf('dev'), 'n'), '1.5.0');
  await assert.rejects(lab.promote({ version, channel: 'stable' }), { code: 'E_CHANNEL_YANKED' });
});

test('what a channel was withdrawn from does not go on from there to another', async () => {
  await lab.addPilot('1.5.1');
  await lab.promote({ version: '1.5.1', channel: 'dev', minVersion: '1.5.1' });
  await revoke({ ...lab.context, version: '1.5.1', channels: ['dev'] });
  await assert.rejects(lab.promote({ fromChannel: 'dev', channel: 'canary' }), { code: 'E_CHANNEL_YANKED' });
  await lab.promote({ version: '1.5.0', channel: 'dev', minVersion: '1.5.0', lowersFloor: true });
});

/** The lab with only these keys. */
async function withKeys(...names: string[]) {
  const keysDirectory = join(directory, names.join('-'));
  await mkdir(keysDirectory);
  for (const name of names) {
    await cp(join(lab.keysDirectory, `${name}.key.json`), join(keysDirectory, `${name}.key.json`));
  }
  const keys = openKeyDirectory({
    directory: keysDirectory,
    clock: systemClock,
    passphrases: async () => lab.passphrase,
    scryptN: 1024,
  });
  return { ...lab.context, keys };
}

test('one manager alone withdraws what she can at once, what remains is named, and the rest completes it', async () => {
  await lab.addPilot('1.6.0');
  for (const channel of ['stable', 'canary', 'dev']) await lab.promote({ version: '1.6.0', channel });
  await lab.publish();
  const alone = await withKeys('manager-1', 'snapshot', 'timestamp');
  await assert.rejects(revoke({ ...alone, version: '1.6.0' }), {
    code: 'E_THRESHOLD_NOT_MET',
    message: /signed for canary, dev, not for stable; it stays in releases/,
    where: 'role stable',
  });
  await lab.publish();
  const half = await listChannels(lab.context);
  assert.deepEqual(
    half.map(({ channel, pointer }) => [channel, taken(pointer!, 'n')]),
    [
      ['stable', '1.6.0'],
      ['canary', '1.2.0'],
      ['dev', '1.5.0'],
    ],
  );
  const bytes = await readPublicDirectory(lab.publicDirectory, lab.rootJson);
  verifyMetadata(bytes, { nowMs: Date.now(), where: lab.publicDirectory });
  const rest = await revoke({ ...lab.context, version: '1.6.0' });
  assert.deepEqual(
    [rest.releases, rest.channels.map(({ state }) => state)],
    ['removed', ['signed', 'unchanged', 'unchanged']],
  );
});

test('with a proposal the build stays signed until the last channel is off it', async () => {
  await lab.addPilot('1.7.0');
  for (const channel of ['stable', 'canary']) await lab.promote({ version: '1.7.0', channel });
  await lab.publish();
  const alone = { ...(await withKeys('manager-2', 'snapshot', 'timestamp')), propose: true };
  const asked = await promote({ ...alone, version: '1.2.0', channel: 'stable' });
  assert.deepEqual([asked.promoted, asked.proposed], [true, true]);
  assert.equal((await pointerOf('stable')).current.version, '1.7.0', 'not before another one signed');
  await lab.promote({ version: '1.7.0', channel: 'stable', percent: 99 });
  const proposed = await revoke({ ...alone, version: '1.7.0' });
  assert.deepEqual(
    [proposed.releases, proposed.channels.map(({ state }) => state)],
    ['waits', ['proposed', 'signed', 'signed']],
  );
  await lab.publish();
  const bytes = await readPublicDirectory(lab.publicDirectory, lab.rootJson);
  const seen = verifyMetadata(bytes, { nowMs: Date.now(), where: lab.publicDirectory });
  assert.equal(seen.channels.stable?.current.version, '1.7.0');
  assert.equal((await revoke({ ...lab.context, version: '1.7.0' })).releases, 'removed');
});

test('a crash at any step of a revocation leaves what can be published, and running it again completes it', async () => {
  await lab.addPilot('1.8.0');
  for (const channel of ['stable', 'canary', 'dev']) await lab.promote({ version: '1.8.0', channel });
  await lab.publish();
  let stop = 0;
  for (let done = false; !done;) {
    stop += 1;
    let step = 0;
    const onStep = () => {
      if ((step += 1) === stop) throw new Error('killed here');
    };
    try {
      await revoke({ ...lab.context, onStep, version: '1.8.0' });
      done = true;
    } catch (error) {
      assert.equal((error as Error).message, 'killed here');
    }
    await lab.publish();
    const bytes = await readPublicDirectory(lab.publicDirectory, lab.rootJson);
    verifyMetadata(bytes, { nowMs: Date.now(), where: lab.publicDirectory });
  }
  await lab.publish();
  assert.ok(stop > 4, `only ${stop} runs`);
  assert.ok((await listChannels(lab.context)).every(({ pointer }) => taken(pointer!, 'n') !== '1.8.0'));
});
