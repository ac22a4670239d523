import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MetadataStore } from '../../../../../codecache/client/updater/metadata-directory.ts';
import { Updater } from '../../../../../codecache/client/updater/updater.ts';
import { newKey, signWith, TufSimulator } from '../../../../lab/tuf-simulator.ts';

/** Keeps metadata in memory and what was done to it. */
function memoryStore() {
  const kept = new Map<string, Uint8Array>();
  const done: string[] = [];
  const store: MetadataStore = {
    read: async role => kept.get(role),
    write: async (role, bytes) => {
      done.push(`write ${role}`);
      kept.set(role, bytes);
    },
    remove: async role => {
      done.push(`remove ${role}`);
      kept.delete(role);
    },
  };
  const versionOf = (role: string) =>
    (JSON.parse(Buffer.from(kept.get(role)!).toString()) as { signed: { version: number } }).signed.version;
  return { store, kept, done, versionOf };
}

const open = (repository: TufSimulator, store: MetadataStore, nowMs = repository.nowMs) =>
  Updater.open({
    store,
    trustedRoot: repository.firstRoot,
    get: repository.get,
    at: path => `http://cache/${path}`,
    nowMs,
  });

async function refreshed(repository: TufSimulator, store: MetadataStore, nowMs?: number): Promise<Updater> {
  const updater = await open(repository, store, nowMs);
  repository.asked = [];
  await updater.refresh();
  return updater;
}

test('what is kept is not fetched again: a later update asks for the next root and the timestamp', async () => {
  const repository = new TufSimulator();
  repository.delegate('targets', 'more');
  repository.publish('more', 'targets', 'snapshot', 'timestamp');
  const { store, versionOf } = memoryStore();
  const first = await refreshed(repository, store);
  assert.equal(await first.find('none'), undefined);
  assert.deepEqual(repository.asked, [
    '2.root.json',
    'timestamp.json',
    '2.snapshot.json',
    '2.targets.json',
    '1.more.json',
  ]);
  const second = await refreshed(repository, store);
  assert.equal(await second.find('none'), undefined);
  assert.deepEqual(repository.asked, ['2.root.json', 'timestamp.json']);
  repository.roles.get('targets')!.targets['a/b'] = { hashes: { sha256: 'aa' }, length: 1 };
  repository.publish('targets', 'snapshot', 'timestamp');
  const third = await refreshed(repository, store);
  assert.equal((await third.find('a/b'))?.length, 1);
  assert.deepEqual(repository.asked, ['2.root.json', 'timestamp.json', '3.snapshot.json', '3.targets.json']);
  assert.equal(versionOf('targets'), 3);
});

test('checked just now: nothing is asked for as long as what is kept holds', async () => {
  const repository = new TufSimulator();
  const { store, kept } = memoryStore();
  await refreshed(repository, store);
  const again = async (nowMs = repository.nowMs) => {
    const updater = await open(repository, store, nowMs);
    repository.asked = [];
    return updater.refresh({ checkedJustNow: true });
  };
  assert.equal(await again(), false);
  assert.deepEqual(repository.asked, []);
  kept.delete('snapshot');
  assert.equal(await again(), false);
  assert.deepEqual(repository.asked, ['1.snapshot.json']);
  kept.set('timestamp', Buffer.from('{}'));
  assert.equal(await again(), true);
  repository.roles.get('timestamp')!.expires = '2028-01-01T00:00:00Z';
  repository.publish('timestamp');
  await assert.rejects(again(Date.parse('2027-06-01T00:00:00Z')), { code: 'E_TUF_EXPIRED' });
  assert.deepEqual(repository.asked, ['2.root.json', 'timestamp.json'], 'what is kept expired');
});

test('only 404 and 403 end the chain of roots: any other failure may hide one', async () => {
  const repository = new TufSimulator();
  const { store } = memoryStore();
  for (const status of [500, 503, 410, 401, 302]) {
    repository.failures.set('2.root.json', status);
    await assert.rejects(refreshed(repository, store), { code: 'E_CACHE_UNREACHABLE' }, String(status));
    assert.deepEqual(repository.asked, ['2.root.json']);
  }
  repository.failures.set('2.root.json', 403);
  await refreshed(repository, store);
});

test('one update follows 256 roots at most, the next one goes on', async () => {
  const repository = new TufSimulator();
  const { store, versionOf } = memoryStore();
  for (let i = 0; i < 260; i += 1) repository.publish('root');
  await refreshed(repository, store);
  assert.equal(versionOf('root'), 257);
  await refreshed(repository, store);
  assert.equal(versionOf('root'), 261);
});

test('what replaced online keys signed is forgotten, before the root that says so is kept', async () => {
  for (const role of ['timestamp', 'snapshot']) {
    const repository = new TufSimulator();
    const { store, done, versionOf } = memoryStore();
    const old = repository.keys.get(role)![0]!;
    repository.roles.get(role)!.version = 999;
    repository.publish('snapshot', 'timestamp');
    await refreshed(repository, store);
    assert.equal(versionOf(role), 1000);
    // Rolled back under a new key, and even when the key before it comes back in the root after that.
    repository.rotate(role);
    repository.publish('root');
    repository.rotate(role, old);
    repository.roles.get(role)!.version = 0;
    repository.roles.get('timestamp')!.version = role === 'timestamp' ? 0 : 1000;
    repository.publish('root', 'snapshot', 'timestamp');
    done.length = 0;
    await refreshed(repository, store);
    assert.equal(versionOf(role), 1, role);
    assert.deepEqual(done.slice(0, 3), ['remove timestamp', 'remove snapshot', 'write root']);
  }
});

test('another threshold of online keys forgets as another key does; another root key does not', async () => {
  const repository = new TufSimulator();
  const { store, done } = memoryStore();
  await refreshed(repository, store);
  repository.rotate('root');
  repository.publish('root');
  await refreshed(repository, store);
  assert.ok(!done.some(step => step.startsWith('remove')), done.join());
  repository.keys.get('timestamp')!.push(newKey());
  repository.authorize('timestamp', 2);
  repository.publish('root', 'timestamp');
  await refreshed(repository, store);
  assert.ok(done.includes('remove timestamp') && done.includes('remove snapshot'));
});

test('what is refused is not kept, and nothing that was kept is lost', async () => {
  const repository = new TufSimulator();
  const { store, kept } = memoryStore();
  await refreshed(repository, store);
  repository.publish('targets', 'snapshot', 'timestamp');
  const before = new Map(kept);
  const evil = [newKey()];
  const forged: [string, string, Buffer][] = [
    ['E_TUF_SIGNATURE', 'timestamp.json', signWith(repository.roles.get('timestamp')!, evil)],
    ['E_TUF_FORMAT', 'timestamp.json', Buffer.from('<html>')],
    ['E_TUF_FORMAT', 'timestamp.json', Buffer.alloc(70_000, ' ')],
    ['E_TUF_FORMAT', '2.root.json', Buffer.alloc(2 ** 20 + 1, ' ')],
    ['E_TUF_SIGNATURE', '2.root.json', signWith({ ...repository.roles.get('root')!, version: 2 }, evil)],
  ];
  for (const [code, file, bytes] of forged) {
    const honest = repository.files.get(file);
    repository.files.set(file, bytes);
    await assert.rejects(refreshed(repository, store), { code, where: `http://cache/metadata/${file}` });
    if (honest === undefined) repository.files.delete(file);
    else repository.files.set(file, honest);
    assert.deepEqual(kept, before, `${code} ${file}`);
  }
  for (const file of ['2.snapshot.json', '2.targets.json']) {
    const honest = repository.files.get(file)!;
    for (const bytes of [Buffer.concat([honest, Buffer.from(' ')]), honest.subarray(1)]) {
      repository.files.set(file, bytes);
      await assert.rejects(refreshed(repository, store), {
        code: 'E_TUF_HASH',
        where: /2\.(snapshot|targets)/,
      });
    }
    repository.files.set(file, honest);
  }
  await refreshed(repository, store);
});

test('nothing goes back: not the timestamp, not the snapshot that it names, not a role that the snapshot names', async () => {
  const repository = new TufSimulator();
  const { store, kept, versionOf } = memoryStore();
  repository.delegate('targets', 'more');
  for (let i = 0; i < 3; i += 1) repository.publish('more', 'targets', 'snapshot', 'timestamp');
  await refreshed(repository, store);
  const before = new Map(kept);
  const sent = new Map(repository.files);
  const back = async (code: string, ...roles: [string, number][]) => {
    const versions = [...repository.roles].map(([role, { version }]) => [role, version as number] as const);
    for (const [role, version] of roles) repository.roles.get(role)!.version = version - 1;
    repository.publish(...roles.map(([role]) => role));
    await assert.rejects(refreshed(repository, store), { code }, JSON.stringify(roles));
    for (const [role, version] of versions) repository.roles.get(role)!.version = version;
    for (const [file, bytes] of sent) repository.files.set(file, bytes);
  };
  await back('E_TUF_STALE', ['timestamp', 3]);
  assert.deepEqual(kept, before);
  await back('E_TUF_ROLLBACK', ['snapshot', 3], ['timestamp', 5]);
  assert.deepEqual(kept, before);
  await back('E_TUF_ROLLBACK', ['more', 2], ['snapshot', 5], ['timestamp', 5]);
  assert.equal(versionOf('timestamp'), 5, 'verified, so it is kept');
  assert.equal(versionOf('snapshot'), 4, 'refused, so it is not');
});

test('a timestamp with the version that is trusted changes nothing, whatever it says', async () => {
  const repository = new TufSimulator();
  const { store, kept } = memoryStore();
  await refreshed(repository, store);
  const before = new Map(kept);
  const timestamp = repository.roles.get('timestamp')!;
  const other = { ...timestamp, meta: { 'snapshot.json': { version: 100 } } };
  repository.files.set('timestamp.json', signWith(other, repository.keys.get('timestamp')!));
  await refreshed(repository, store);
  assert.deepEqual(kept, before);
});

test('time stands still during an update, and decides what expired', async () => {
  const repository = new TufSimulator();
  for (const role of ['root', 'timestamp', 'snapshot', 'targets']) {
    const { store } = memoryStore();
    const other = new TufSimulator();
    other.roles.get(role)!.expires = '2026-11-22T12:00:00Z';
    other.publish(role, 'snapshot', 'timestamp');
    await assert.rejects(refreshed(other, store), {
      code: 'E_TUF_EXPIRED',
      rule: `expiry of ${role}`,
    });
    await refreshed(other, store, repository.nowMs - 1);
  }
});

test('a role with a delegator whose keys are others is refused, loaded or kept', async () => {
  const repository = new TufSimulator();
  repository.delegate('targets', 'A', { paths: ['a'] });
  repository.delegate('targets', 'B', { paths: ['b'] });
  repository.delegate('A', 'C', { paths: ['*'] });
  const stranger = newKey();
  repository.roles.get('B')!.delegations = {
    keys: { [stranger.id]: stranger.json },
    roles: [{ keyids: [stranger.id], name: 'C', paths: ['*'], terminating: false, threshold: 1 }],
  };
  repository.publish('A', 'B', 'C', 'targets', 'snapshot', 'timestamp');
  const { store } = memoryStore();
  for (const times of [1, 2]) {
    const updater = await refreshed(repository, store);
    assert.equal(await updater.find('a'), undefined, `C is loaded through A, ${times}`);
    await assert.rejects(updater.find('b'), { code: 'E_TUF_SIGNATURE' });
  }
  const alone = await refreshed(repository, memoryStore().store);
  await assert.rejects(alone.find('b'), { code: 'E_TUF_SIGNATURE' });
});

test('a damaged root that was kept is replaced by the pinned one; without one it is refused', async () => {
  const repository = new TufSimulator();
  const { store, kept } = memoryStore();
  kept.set('root', repository.firstRoot.subarray(1));
  await refreshed(repository, store);
  const options = { get: repository.get, at: (path: string) => path, nowMs: repository.nowMs };
  kept.set('root', Buffer.from('{"half'));
  await assert.rejects(Updater.open({ store, ...options }), { code: 'E_TUF_FORMAT', where: 'root.json' });
  kept.clear();
  await assert.rejects(Updater.open({ store, ...options }), { code: 'E_TUF_FORMAT' });
});
