import assert from 'node:assert/strict';
import { copyFile, cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { systemClock } from '../../../lib/clock.ts';
import { openKeyDirectory } from '../../../signing/keys/key-directory.ts';
import type { KnownKey } from '../../../signing/keys/signer.ts';
import { passphraseSource } from '../../../signing/keys/passphrase.ts';
import { resignRole } from '../../../signing/release/repository/amend-role.ts';
import { delegatedRoles, places, type Role } from '../../../signing/release/layout.ts';
import { publish, refresh } from '../../../signing/release/repository/publish.ts';
import { withRepository, type ReleaseContext } from '../../../signing/release/repository/repository.ts';
import { rotateKey } from '../../../signing/release/repository/rotate-key.ts';
import { exportRequest } from '../../../signing/release/sign/export-request.ts';
import { importRequest } from '../../../signing/release/sign/import-request.ts';
import { signRequest } from '../../../signing/release/sign/sign-request.ts';
import { fileStorage } from '../../../signing/release/storage/file-storage.ts';
import { releaseLog, verifyRepository } from '../../../signing/release/repository/verify-repository.ts';
import { releaseCommand } from '../../lab/release-command.ts';
import { makeReleaseRepository, type ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { readWithTufJs } from '../../lab/tuf-reader.ts';
import { readTree, serveTree, type Tree } from '../codecache/forgery.ts';
import { runWrapper } from '../codecache/wrapper-box.ts';

let directory: string;
let remove: () => Promise<void>;
let lab: ReleaseRepositoryLab;

before(async () => {
  ({ path: directory, remove } = await makeTemporaryDirectory('rotate'));
  lab = await makeReleaseRepository({ directory });
});
after(() => remove());

const ring = (keysDirectory: string) =>
  openKeyDirectory({
    directory: keysDirectory,
    clock: systemClock,
    scryptN: 1024,
    passphrases: passphraseSource({ file: lab.passphraseFile }),
  });

let copies = 0;
/** A copy of repository and keys. */
async function copyOf(keep: (key: string) => boolean = () => true): Promise<ReleaseContext> {
  const copy = join(directory, `copy-${(copies += 1)}`);
  await cp(lab.directory, join(copy, 'repository'), { recursive: true });
  await cp(lab.keysDirectory, join(copy, 'keys'), { recursive: true });
  for (const file of await readdir(join(copy, 'keys'))) {
    if (!keep(file.replace('.key.json', ''))) await rm(join(copy, 'keys', file));
  }
  return { ...lab.context, storage: fileStorage(join(copy, 'repository')), keys: ring(join(copy, 'keys')) };
}

const publicOf = (context: ReleaseContext) => context.storage.where(places.public);

/** Forgets that caches were asked a moment ago. */
async function later(store: string): Promise<void> {
  const metadata = join(store, 'metadata');
  for (const pin of await readdir(metadata).catch(() => [])) {
    await rm(join(metadata, pin, 'checked'), { force: true });
  }
}

/** Nodes of each kind that keep what they trusted before, and read it all again. */
async function makeNodes(t: TestContext, context: ReleaseContext) {
  const nodes = join(directory, `nodes-${(copies += 1)}`);
  let tree: Tree = new Map();
  const { url } = await serveTree(t, () => tree);
  let fresh = 0;
  const read = async (state: string) => {
    tree = await readTree(publicOf(context));
    const place = join(nodes, state);
    const { rootJson } = lab;
    const options = { publicDirectory: publicOf(context), state: join(place, 'tuf-js'), rootJson };
    assert.equal(await readWithTufJs({ ...options, channel: 'stable' }), '1.0.0', 'stock tuf-js');
    const store = join(place, 'store');
    await later(store);
    const client = { trustedRoot: rootJson, storeDirectory: store, caches: [url], queue: 'Q1', site: 'none' };
    assert.equal((await fetchRelease({ ...client, patienceSeconds: 0 })).release.version, '1.0.0', 'client');
    const box = { directory: join(place, `box-${(fresh += 1)}`), store: join(place, 'sh-store') };
    const run = await runWrapper({ ...box, rootJson, caches: [url] });
    assert.equal(run.result.code, 'ok', `the shell bootstrap: ${run.stderr}`);
  };
  return { old: () => read('old'), fresh: () => read(`fresh-${(fresh += 1)}`) };
}

test('after the rotation of every role, nodes of each kind go on, fresh and with what they trusted before', async t => {
  const context = await copyOf();
  const nodes = await makeNodes(t, context);
  await nodes.old();
  const rotations: { roles: Role[]; remove?: string[] }[] = [
    { roles: ['timestamp'] },
    { roles: ['snapshot'] },
    { roles: ['targets'], remove: ['targets-1'] },
    { roles: ['root'], remove: ['root-1', 'root-2'] },
    { roles: ['releases'], remove: ['builder'] },
    { roles: ['stable'], remove: ['manager-1'] },
    { roles: ['canary', 'dev', 'queues'], remove: ['manager-1'] },
    { roles: ['trust'] },
  ];
  for (const rotation of rotations) {
    const { created, isStaged } = await rotateKey({ ...context, ...rotation });
    const gone = rotation.remove ?? rotation.roles;
    assert.equal(isStaged, true);
    if (!created.includes('manager-1-next')) assert.ok(created.length <= gone.length);
    await nodes.old(); // nothing changes for anybody before it is published
    await publish(context);
    await t.test(rotation.roles.join(', '), () => nodes.old());
    await refresh(context);
    await verifyRepository(context);
  }
  await nodes.old();
  await nodes.fresh();
  const root = JSON.parse(await readFile(join(publicOf(context), 'metadata/5.root.json'), 'utf8')) as {
    signed: { roles: Record<string, { keyids: string[] }> };
  };
  const named = await context.keys.list();
  const nameOf = (id: string) => named.find(key => key.keyId === id)?.name;
  assert.deepEqual(root.signed.roles.timestamp?.keyids.map(nameOf), ['timestamp-next']);
  assert.deepEqual(root.signed.roles.root?.keyids.map(nameOf), ['root-3', 'root-1-next', 'root-2-next']);
  const log = await releaseLog(context);
  assert.ok(log.some(({ action, role }) => action === 'rotate-key' && role === 'stable'));
});

test('a key that was removed signs nothing any more', async () => {
  const context = await copyOf();
  await rotateKey({ ...context, roles: ['stable'], remove: ['manager-1'], withoutNew: true });
  await publish(context);
  const names = ['manager-1', 'manager-2'];
  await assert.rejects(resignRole({ ...context, role: 'stable', keyNames: names }), {
    code: 'E_KEY_NOT_AUTHORIZED',
  });
  await resignRole({ ...context, role: 'canary', keyNames: ['manager-1'] }); // there it still may
  await resignRole({ ...context, role: 'stable' });
  const entry = (await releaseLog(context)).findLast(({ role }) => role === 'stable');
  assert.deepEqual(
    entry?.keys.map(key => key.name),
    ['manager-2', 'manager-3'],
  );
});

test('while online keys change, the timestamp goes first and the root last; with the old key lost, the other way round', async t => {
  const context = await copyOf();
  const nodes = await makeNodes(t, context);
  await nodes.old();
  const writes = (steps: string[]) => steps.filter(step => /^write .*(timestamp|root)/.test(step));
  const published = async (from: ReleaseContext) => {
    const steps: string[] = [];
    await publish({ ...from, onStep: step => void steps.push(step) });
    return writes(steps);
  };
  await rotateKey({ ...context, roles: ['timestamp'] });
  await rotateKey({ ...context, roles: ['snapshot'] }); // a second root before anything was published
  await refresh(context); // the daemon signs on with the keys that are in force
  await nodes.old();
  const staged = await context.storage.list(places.staged);
  assert.deepEqual(await published(context), [
    'write timestamp.json',
    ...staged.filter(name => name.endsWith('root.json')).map(name => `write ${name}`),
  ]);
  await nodes.old();
  const keysDirectory = join(context.storage.name, '../keys');
  await rm(join(keysDirectory, 'timestamp-next.key.json'));
  const lost = { ...context, keys: ring(keysDirectory) };
  const { created } = await rotateKey({ ...lost, roles: ['timestamp'] });
  assert.deepEqual(created, ['timestamp-next-2']);
  const [first, second] = await published(lost);
  assert.match(first!, /root\.json$/);
  assert.equal(second, 'write timestamp.json');
  await nodes.old();
  await nodes.fresh();
});

test('a crash at any step of a rotation and its publish leaves readers at work, and the next run completes it', async () => {
  const crash = new Error('killed here');
  for (const lostOldKey of [false, true]) {
    for (let stop = 1; ; stop += 1) {
      const context = await copyOf(name => !(lostOldKey && name === 'timestamp'));
      const state = join(directory, `crash-${(copies += 1)}`);
      const reads = () =>
        readWithTufJs({
          publicDirectory: publicOf(context),
          state,
          rootJson: lab.rootJson,
          channel: 'stable',
        });
      await reads();
      let steps = 0;
      const onStep = () => {
        if ((steps += 1) === stop) throw crash;
      };
      const rotation = { roles: ['timestamp', 'stable'] as Role[], withoutNew: true };
      await context.keys.create('new-timestamp');
      await context.keys.create('new-manager');
      const both = async (from: ReleaseContext) => {
        await rotateKey({
          ...from,
          ...rotation,
          roles: ['timestamp'],
          remove: ['timestamp'],
          add: ['new-timestamp'],
        });
        await rotateKey({
          ...from,
          ...rotation,
          roles: ['stable'],
          remove: ['manager-1'],
          add: ['new-manager'],
        });
        await publish(from);
      };
      const survived = await both({ ...context, onStep }).then(
        () => true,
        (error: unknown) => {
          if (error !== crash) throw error;
          return false;
        },
      );
      // With the old key lost there is a moment between root and timestamp that only the next run ends.
      if (!lostOldKey) assert.equal(await reads(), '1.0.0', `after a crash at step ${stop}`);
      await both(context).catch((error: unknown) => {
        if (!['E_KEY_MISSING', 'E_USAGE'].includes((error as { code?: string }).code ?? '')) throw error;
      });
      await publish(context);
      const { roles } = await verifyRepository(context);
      assert.equal(roles.root?.version, 2, `after a crash at step ${stop}`);
      assert.equal(await reads(), '1.0.0');
      if (survived) break;
      assert.ok(stop < 60, 'it ends');
    }
  }
});

test('root is changed by people apart, old keys and new', async () => {
  const context = {
    ...(await copyOf(name => ['snapshot', 'timestamp', 'root-1'].includes(name))),
    propose: true,
  };
  const dora = ring(join(directory, 'dora'));
  const { keyId, public: parts } = await dora.create('root-dora');
  const keysDirectory = join(context.storage.name, '../keys');
  await mkdir(keysDirectory, { recursive: true });
  const handedOver = JSON.stringify({ schema: 1, name: 'root-dora', keyId, public: parts });
  await writeFile(join(keysDirectory, 'root-dora.pub.json'), handedOver);
  const change = { roles: ['root'] as Role[], remove: ['root-3'], add: ['root-dora'] };
  const { isStaged } = await rotateKey({ ...context, ...change, threshold: 3 });
  assert.equal(isStaged, false);
  const request = await withRepository(context, opened => exportRequest(opened));
  await mkdir(join(directory, 'root-two'), { recursive: true });
  await copyFile(join(lab.keysDirectory, 'root-2.key.json'), join(directory, 'root-two/root-2.key.json'));
  const states: string[] = [];
  for (const keys of [dora, ring(join(directory, 'root-two'))]) {
    let shown = '';
    const signed = await signRequest({
      request,
      where: 'request',
      keys,
      nowMs: Date.now(),
      pinnedRoot: lab.rootJson,
      confirm: async text => {
        shown = text;
        return true;
      },
    });
    assert.match(shown, /root: key added: root-dora \([0-9a-f]{64}\), ecdsa-sha2-nistp256/);
    assert.match(shown, /root: key removed: root-3/);
    assert.match(shown, /root: signatures needed: 2 -> 3/);
    const [item] = await withRepository(context, opened => importRequest(opened, signed.request, 'request'));
    states.push(item!.state);
  }
  assert.deepEqual(states, ['pending', 'staged']);
  await publish(context);
  assert.equal((await verifyRepository(context)).roles.root?.version, 2);
});

test('what no role may become is refused before anything is signed', async () => {
  const context = await copyOf();
  const refuses = (
    options: Parameters<typeof rotateKey>[0] extends infer T ? Partial<T> : never,
    code: string,
  ) => assert.rejects(rotateKey({ ...context, roles: ['stable'], ...options }), { code });
  await refuses({}, 'E_USAGE'); // which of three?
  await refuses({ threshold: 2 }, 'E_USAGE');
  await refuses({ threshold: 4 }, 'E_THRESHOLD_NOT_MET');
  await refuses({ remove: ['builder'] }, 'E_KEY_MISSING');
  await refuses({ add: ['nobody'] }, 'E_KEY_MISSING');
  await context.keys.create('edward', 'ed25519');
  const two = { remove: ['manager-1', 'manager-2'], add: ['edward'] };
  await refuses(two, 'E_KEY_SCHEME');
  await refuses({ roles: ['timestamp'], remove: ['timestamp'], add: ['edward'] }, 'E_KEY_SCHEME');
  assert.deepEqual(await context.storage.list(places.staged), []);
  // The key that goes does not come back under another name, nor does one that was refused keep its name.
  const keysDirectory = join(context.storage.name, '../keys');
  const handOver = async (name: string, { keyId, public: parts }: KnownKey) => {
    const text = JSON.stringify({ schema: 1, name, keyId, public: parts });
    await writeFile(join(keysDirectory, `${name}.pub.json`), text);
  };
  const known = new Map((await context.keys.list()).map(key => [key.name, key]));
  await handOver('anna', known.get('manager-1')!);
  const again = { remove: ['manager-1', 'manager-2'], add: ['anna'] };
  await refuses({ ...again, threshold: 1 }, 'E_KEY_EXISTS');
  await refuses({ roles: ['root'], add: ['anna'] }, 'E_KEY_EXISTS');
  await refuses({ remove: ['manager-1'], add: ['manager-1'], threshold: 1 }, 'E_KEY_EXISTS');
  await handOver('dora', await ring(join(directory, 'wrong')).create('dora'));
  const dora = { roles: ['root' as const], add: ['dora'], keyNames: ['root-1'] };
  await refuses(dora, 'E_THRESHOLD_NOT_MET');
  await rm(join(keysDirectory, 'dora.pub.json'));
  await handOver('dora', await ring(join(directory, 'right')).create('dora'));
  await refuses(dora, 'E_THRESHOLD_NOT_MET');
  // Beside enough ECDSA keys it is welcome, but does not count for bare nodes.
  await rotateKey({ ...context, roles: ['stable'], add: ['edward'] });
  const keyNames = ['edward', 'manager-1'];
  await assert.rejects(resignRole({ ...context, role: 'stable', keyNames }), { code: 'E_KEY_SCHEME' });
  await resignRole({ ...context, role: 'stable', keyNames: [...keyNames, 'manager-2'] });
  await publish(context);
  for (const role of delegatedRoles) assert.ok((await verifyRepository(context)).roles[role]);
});

test('keys of other kinds beside enough ECDSA ones sign too, and every kind of node reads on', async t => {
  const context = await copyOf();
  const nodes = await makeNodes(t, context);
  await nodes.old();
  await context.keys.create('edward', 'ed25519');
  await context.keys.create('robert', 'rsassa-pss-sha256');
  await rotateKey({
    ...context,
    roles: ['root', 'targets', 'stable', 'timestamp'],
    add: ['edward', 'robert'],
  });
  const keyNames = ['edward', 'robert', 'manager-1', 'manager-2'];
  await resignRole({ ...context, role: 'stable', keyNames });
  await publish(context);
  const path = `${places.metadata}/3.stable.json`;
  const { signatures } = JSON.parse(await readFile(context.storage.where(path), 'utf8')) as {
    signatures: { sig: string }[];
  };
  const lengths = signatures.map(({ sig }) => sig.length / 2).sort((a, b) => a - b);
  assert.deepEqual([lengths.length, lengths[0], lengths[3]], [4, 64, 384]);
  await nodes.old();
  await nodes.fresh();
});

test('the command says what it did, and refuses what it cannot do', async () => {
  const context = await copyOf();
  const command = await releaseCommand(directory);
  const where = ['--repo', context.storage.name, '--keys', join(context.storage.name, '../keys')];
  const run = (...args: string[]) =>
    command(['rotate-key', ...args, ...where], { PILOTAGE_PASSPHRASE_FILE: lab.passphraseFile });
  const done = await run('timestamp', 'snapshot', '--add', 'manager-3', '--threshold', '1');
  assert.equal(done.code, 0, done.stderr);
  assert.match(done.stdout, /^timestamp: 1 of timestamp, manager-3\nsnapshot: 1 of snapshot, manager-3\n/);
  assert.match(done.stdout, /Signed root version 2\. Next: release publish\./);
  const [unknown, number] = await Promise.all([run('tumbleweed'), run('stable', '--threshold', 'two')]);
  assert.deepEqual([unknown.code, number.code], [2, 2]);
  assert.match(unknown.stderr, /E_USAGE[^]*expected: root, targets, releases/);
});
