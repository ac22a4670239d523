import assert from 'node:assert/strict';
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { systemClock } from '../../../lib/clock.ts';
import { openKeyDirectory } from '../../../signing/keys/key-directory.ts';
import { rotateKey, type RotateOptions } from '../../../signing/release/repository/rotate-key.ts';
import { verifyRepository } from '../../../signing/release/repository/verify-repository.ts';
import { stableJson } from '../../../signing/stable-json.ts';
import { makeReleaseRepository, type ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import { forge, newest, readTree, sha256Of, type Signed, type Tree } from '../codecache/forgery.ts';
import { makeReaders, speakingPilot, type Readers } from './readers.ts';

/**
 * What somebody with some of the keys, who also owns the store and every cache, can and cannot do to nodes; see "When a key
 * is stolen" in docs/how-to/release-manager.md.
 */
interface Scene {
  lab: ReleaseRepositoryLab;
  /** With stable on 1.0.0, as it was published first. */
  past: Tree;
  /** With stable on 1.1.0: what a node of today trusts. */
  present: Tree;
  /** The repository's keys as the thief copied them: what is done to the real ones later changes nothing for him. */
  stolen: ReleaseRepositoryLab;
  /** Another node, stock tuf-js included; `shows` decides what the thief's store serves. */
  node: (name: string) => Promise<Readers & { shows(tree: Tree): void }>;
}

async function scene(t: TestContext): Promise<Scene> {
  const directory = await temporaryDirectory(t, 'thief');
  const lab = await makeReleaseRepository({ directory, pilotFiles: speakingPilot('1.0.0') });
  const past = await readTree(lab.publicDirectory);
  await lab.addPilot('1.1.0', speakingPilot('1.1.0'));
  await lab.promote({ version: '1.1.0', channel: 'stable' });
  await lab.publish();
  const present = await readTree(lab.publicDirectory);
  await cp(lab.keysDirectory, join(directory, 'stolen'), { recursive: true });
  const stolen = { ...lab, keys: keysIn(join(directory, 'stolen'), lab.passphrase) };
  const node = async (name: string) => {
    let shown = present;
    const options = { directory: join(directory, name), rootJson: lab.rootJson, current: () => shown };
    return { ...(await makeReaders(t, options)), shows: (tree: Tree) => void (shown = tree) };
  };
  return { lab, past, present, stolen, node };
}

const keysIn = (directory: string, passphrase: string) =>
  openKeyDirectory({
    directory,
    clock: systemClock,
    passphrases: async () => passphrase,
    scryptN: 1024,
  });

/** What the managers do when keys were stolen: others in their place, the stolen ones gone; then life goes on with 1.2.0. */
async function recover(
  { lab }: Scene,
  rotations: readonly RotateOptions[],
  gone: readonly string[],
): Promise<Tree> {
  for (const rotation of rotations) await rotateKey({ ...lab.context, ...rotation });
  for (const name of gone) await rm(join(lab.keysDirectory, `${name}.key.json`));
  await lab.publish();
  await lab.addPilot('1.2.0', speakingPilot('1.2.0'));
  await lab.promote({ version: '1.2.0', channel: 'stable' });
  await lab.publish();
  await verifyRepository(lab.context);
  return readTree(lab.publicDirectory);
}

/** A node that trusts the present refuses what the thief serves; stock tuf-js does so too. */
async function refuses(scene: Scene, what: string, tree: Tree, codes: string[]): Promise<void> {
  const node = await scene.node(what);
  assert.deepEqual([await node.tufJs(), await node.nodes()], ['1.1.0', '1.1.0']);
  node.shows(tree);
  const seen = await node.nodes();
  assert.ok(codes.includes(seen), `${what}: ${seen}`);
  assert.match(await node.tufJs(), /Error$/, what);
}

/** The tree with an evil build in `releases`, and where it is. */
async function evilBuild(tree: Tree, version: string) {
  const lure = [...tree].find(([path]) => path.includes('pilot-1.0.0'))![1];
  const bytes = Buffer.concat([lure, Buffer.from('evil')]);
  const path = `pilot/${version}/pilot-${version}.tar.gz`;
  const sha256 = sha256Of(bytes);
  const place = `targets/pilot/${version}/${sha256}.pilot-${version}.tar.gz`;
  const target = { hashes: { sha256 }, length: bytes.length, custom: { files: {} } };
  return { path, sha256, put: (signed: Signed) => (signed.targets[path] = target), file: { [place]: bytes } };
}

/** The pointer of a channel led to a build. */
function ledTo(tree: Tree, channel: string, build: { path: string; sha256: string }, version: string) {
  const { signed } = newest(tree, channel);
  const old = signed.targets[`channels/${channel}.json`].hashes.sha256 as string;
  const pointer = JSON.parse(tree.get(`targets/channels/${old}.${channel}.json`)!.toString()) as Signed;
  pointer.serial += 1;
  pointer.current.version = version;
  pointer.current.pilot = { ...build, version };
  const bytes = stableJson(pointer);
  const sha256 = sha256Of(bytes);
  const entry = { hashes: { sha256 }, length: bytes.length };
  return {
    put: (role: Signed) => (role.targets[`channels/${channel}.json`] = entry),
    file: { [`targets/channels/${sha256}.${channel}.json`]: bytes },
  };
}

const online = ['snapshot', 'timestamp'];

test('with the online keys a thief introduces no build, moves no channel and takes no role back', async t => {
  const stage = await scene(t);
  const { lab, past, present, node } = stage;
  const refused = refuses.bind(null, stage);
  const evil = await evilBuild(present, '6.6.6');
  await refused(
    'a build signed by the online keys',
    await forge(present, lab, { releases: { edit: evil.put, signers: online } }, evil.file),
    ['E_TUF_SIGNATURE'],
  );
  const pointer = ledTo(present, 'stable', { path: evil.path, sha256: evil.sha256 }, '6.6.6');
  await refused(
    'a channel moved by the online keys',
    await forge(present, lab, { stable: { edit: pointer.put, signers: online } }, pointer.file),
    ['E_TUF_SIGNATURE'],
  );
  const former = ['releases', 'stable'].map(role => ({ role, file: newest(past, role) }));
  const takenBack = (roles: string[]) =>
    forge(present, lab, {
      snapshot: {
        edit: signed => {
          for (const { role, file } of former.filter(({ role }) => roles.includes(role))) {
            const bytes = past.get(file.path)!;
            const hashes = { sha256: sha256Of(bytes) };
            signed.meta[`${role}.json`] = { hashes, length: bytes.length, version: file.version };
          }
        },
      },
    });
  for (const roles of [['releases'], ['stable'], ['releases', 'stable']]) {
    await refused(`${roles.join(' and ')} taken back`, await takenBack(roles), ['E_TUF_ROLLBACK']);
  }
  await refused('an older timestamp', past, ['E_TUF_STALE']);

  // A node that has seen nothing yet knows the serials of its channels from whoever submitted it.
  const cold = await node('cold');
  cold.shows(await takenBack(['releases', 'stable']));
  const floors = { root: 1, timestamp: 0, snapshot: 0, channelSerials: { stable: 2 }, signedTimeMs: 0 };
  assert.equal(await cold.nodes(floors), 'E_CHANNEL_FLOOR');
});

test('with the online keys a thief can hold back news, but not beyond the signatures of people', async t => {
  const { lab, present, node } = await scene(t);
  const held = await node('held');
  // Timestamps of his own, over and over, for the same old snapshot: nodes go on with what they had.
  held.shows(await forge(present, lab, {}));
  assert.equal(await held.nodes(), '1.1.0');
  for (const role of ['releases', 'stable', 'queues', 'targets', 'root']) {
    const edit = (signed: Signed) => (signed.expires = '2020-01-01T00:00:00Z');
    const late = await node(`late-${role}`);
    late.shows(await forge(present, lab, { [role]: { edit } }));
    assert.equal(await late.nodes(), 'E_TUF_EXPIRED', role);
  }
  // What he holds back, a server that nodes can reach tells them of.
  const floors = { root: 1, timestamp: 1, snapshot: 1, channelSerials: { stable: 3 }, signedTimeMs: 0 };
  assert.equal(await held.nodes(floors), 'E_CHANNEL_FLOOR');
});

test('with the key of releases, and the online keys, a thief reaches no queue', async t => {
  const stage = await scene(t);
  const { lab, present, node } = stage;
  const evil = await evilBuild(present, '6.6.6');
  const added = { releases: { edit: evil.put, signers: ['builder'] } };
  const quiet = await node('quiet');
  quiet.shows(await forge(present, lab, added, evil.file));
  assert.deepEqual([await quiet.tufJs(), await quiet.nodes()], ['1.1.0', '1.1.0'], 'no channel leads there');

  const pointer = ledTo(present, 'stable', { path: evil.path, sha256: evil.sha256 }, '6.6.6');
  const files = { ...evil.file, ...pointer.file };
  const refused = refuses.bind(null, stage);
  await refused(
    'a channel moved by the builder',
    await forge(present, lab, { ...added, stable: { edit: pointer.put, signers: ['builder'] } }, files),
    ['E_TUF_SIGNATURE'],
  );
  const other = await evilBuild(present, '1.1.0');
  const replaced = await node('replaced');
  replaced.shows(
    await forge(present, lab, { releases: { edit: other.put, signers: ['builder'] } }, other.file),
  );
  assert.equal(
    await replaced.nodes(),
    'E_CHANNEL_MISMATCH',
    'other bytes for a version that a channel names',
  );

  // A role answers for its own paths only, whatever it signs.
  const claimed = ledTo(present, 'stable', { path: evil.path, sha256: evil.sha256 }, '6.6.6');
  const both = (signed: Signed) => {
    evil.put(signed);
    claimed.put(signed);
  };
  const deaf = await node('deaf');
  deaf.shows(await forge(present, lab, { releases: { edit: both, signers: ['builder'] } }, files));
  assert.deepEqual([await deaf.tufJs(), await deaf.nodes()], ['1.1.0', '1.1.0']);
});

test('with one of two keys of stable, and the online keys, a thief does not move stable', async t => {
  const stage = await scene(t);
  const { lab, past, present, node } = stage;
  const refused = refuses.bind(null, stage);
  const build = newest(past, 'releases').signed.targets['pilot/1.0.0/pilot-1.0.0.tar.gz'] as Signed;
  const old = { path: 'pilot/1.0.0/pilot-1.0.0.tar.gz', sha256: build.hashes.sha256 as string };
  const pointer = ledTo(present, 'stable', old, '1.0.0');
  const attempts: [string, string[], string[]][] = [
    ['one key', ['manager-1'], ['E_TUF_SIGNATURE']],
    ['one key twice', ['manager-1', 'manager-1'], ['E_TUF_SIGNATURE', 'E_TUF_FORMAT']],
    ['one key and those of other roles', ['manager-1', 'builder', ...online], ['E_TUF_SIGNATURE']],
  ];
  for (const [what, signers, codes] of attempts) {
    const tree = await forge(present, lab, { stable: { edit: pointer.put, signers } }, pointer.file);
    await refused(what, tree, codes);
  }
  // With both it would be a good pointer: the attempts fail by their signatures and by nothing else.
  const two = await node('two managers');
  two.shows(await forge(present, lab, { stable: { edit: pointer.put } }, pointer.file));
  assert.deepEqual([await two.tufJs(), await two.nodes()], ['1.0.0', '1.0.0']);
});

test('recovery of the online keys: clients that were counted up to a million move forward again, and the thief is out', async t => {
  const stage = await scene(t);
  const { present, stolen, node } = stage;
  const victim = await node('victim');
  const million = { edit: (signed: Signed) => (signed.version = 1_000_000) };
  victim.shows(await forge(present, stolen, { snapshot: million, timestamp: million }));
  assert.deepEqual([await victim.tufJs(), await victim.nodes()], ['1.1.0', '1.1.0']);
  victim.shows(present);
  assert.equal(await victim.nodes(), 'E_TUF_STALE', 'the true repository is too old for it now');

  const healed = await recover(stage, [{ roles: ['snapshot'] }, { roles: ['timestamp'] }], online);
  victim.shows(healed);
  assert.deepEqual([await victim.tufJs(), await victim.nodes()], ['1.2.0', '1.2.0']);
  victim.shows(await forge(healed, stolen, { timestamp: million }));
  assert.deepEqual([await victim.tufJs(), await victim.nodes()].at(-1), 'E_TUF_SIGNATURE');
});

test('recovery of the key of releases: builds go on, and the thief signs none', async t => {
  const stage = await scene(t);
  const { present, stolen, node } = stage;
  const evil = await evilBuild(present, '6.6.6');
  const victim = await node('victim');
  const added = { releases: { edit: evil.put, signers: ['builder'] } };
  victim.shows(await forge(present, stolen, added, evil.file));
  assert.equal(await victim.nodes(), '1.1.0');

  const rotations: RotateOptions[] = [
    { roles: ['releases'], remove: ['builder'] },
    { roles: ['snapshot'] },
    { roles: ['timestamp'] },
  ];
  const healed = await recover(stage, rotations, ['builder', ...online]);
  victim.shows(healed);
  assert.deepEqual([await victim.tufJs(), await victim.nodes()], ['1.2.0', '1.2.0']);
  assert.equal(newest(healed, 'releases').signed.targets[evil.path], undefined);
  // Even with the new online keys, which `forge` then signs with.
  const keys = keysIn(stage.lab.keysDirectory, stage.lab.passphrase);
  await cp(
    join(stolen.keysDirectory, '..', 'stolen', 'builder.key.json'),
    join(stage.lab.keysDirectory, 'builder.key.json'),
  );
  const late = await forge(
    healed,
    { ...stage.lab, keys },
    {
      ...added,
      snapshot: { signers: ['snapshot-next'] },
      timestamp: { signers: ['timestamp-next'] },
    },
  );
  victim.shows(late);
  assert.equal(await victim.nodes(), 'E_TUF_SIGNATURE');
});

test('recovery of a manager: the one who stays and a new one go on, and the stolen key counts no more', async t => {
  const stage = await scene(t);
  const { lab, stolen, node } = stage;
  const victim = await node('victim');
  assert.equal(await victim.nodes(), '1.1.0');
  const roles = ['releases', 'stable', 'canary', 'dev', 'queues'] as const;
  const healed = await recover(stage, [{ roles, remove: ['manager-1'] }], ['manager-1']);
  victim.shows(healed);
  assert.deepEqual([await victim.tufJs(), await victim.nodes()], ['1.2.0', '1.2.0']);
  const { signed } = newest(healed, 'releases');
  const path = 'pilot/1.0.0/pilot-1.0.0.tar.gz';
  const pointer = ledTo(
    healed,
    'stable',
    { path, sha256: signed.targets[path].hashes.sha256 as string },
    '1.0.0',
  );
  const signers = ['manager-1', 'manager-2'];
  victim.shows(await forge(healed, stolen, { stable: { edit: pointer.put, signers } }, pointer.file));
  assert.equal(await victim.nodes(), 'E_TUF_SIGNATURE');
  const entry = newest(healed, 'targets').signed.delegations.roles as { name: string; keyids: string[] }[];
  const gone = (await stolen.keys.list()).find(({ name }) => name === 'manager-1')!.keyId;
  assert.ok(entry.every(({ keyids }) => !keyids.includes(gone)));
  assert.ok((await lab.keys.list()).some(({ name }) => name === 'manager-1-next'));
});
