import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../../lib/clock.ts';
import { ReleaseConfig } from '../../../signing/config/schema.ts';
import { openKeyDirectory } from '../../../signing/keys/key-directory.ts';
import { addRelease, addRuntime } from '../../../signing/release/builds/add-release.ts';
import { halt } from '../../../signing/release/channels/halt.ts';
import { initRepository } from '../../../signing/release/repository/init-repository.ts';
import { promote } from '../../../signing/release/channels/promote.ts';
import { publish, refresh } from '../../../signing/release/repository/publish.ts';
import type { ReleaseContext } from '../../../signing/release/repository/repository.ts';
import { revoke } from '../../../signing/release/channels/revoke.ts';
import { fileStorage } from '../../../signing/release/storage/file-storage.ts';
import { fakeNode, makePilotTarball, makeTarball } from '../../lab/release-repository.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import { readTree, type Tree } from '../codecache/forgery.ts';
import { makeReaders, speakingPilot } from './readers.ts';

/** The text that a JSON value has in the repository: minified, keys sorted. */
const sortedText = (value: unknown): string =>
  JSON.stringify(value, (_, item: unknown) =>
    item !== null && typeof item === 'object' && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );

function checkForm(tree: Tree): void {
  for (const [path, bytes] of tree) {
    if (!path.endsWith('.json')) continue;
    const text = bytes.toString('latin1');
    assert.match(text, /^[\x20-\x7e]+$/, path);
    assert.equal(text, sortedText(JSON.parse(text)), path);
    for (const [, hashes] of text.matchAll(/"hashes":(\{[^}]*\})/g)) {
      assert.match(hashes!, /^\{"sha256":"[0-9a-f]{64}"\}$/, path);
    }
  }
}

test('after every command stock tuf-js, the client and the sh bootstrap read the repository and get the right bytes', async t => {
  const directory = await temporaryDirectory(t, 'readers');
  const repository = join(directory, 'repository');
  const keys = openKeyDirectory({
    directory: join(directory, 'keys'),
    clock: systemClock,
    passphrases: async () => 'correct horse',
    scryptN: 1024,
  });
  const context: ReleaseContext = { storage: fileStorage(repository), keys, clock: systemClock };
  const { rootFile } = await initRepository({ ...context, config: ReleaseConfig.parse({}) });
  let tree: Tree = await readTree(join(repository, 'public'));
  const rootJson = tree.get('metadata/1.root.json')!;
  assert.match(rootFile, /1\.root\.json$/);
  const readers = await makeReaders(t, { directory, rootJson, current: () => tree });

  /** What is public after a command: of this form, and read by all. */
  const isRead = async (command: string, version: string, tufVersion = version) => {
    tree = await readTree(join(repository, 'public'));
    checkForm(tree);
    assert.equal(await readers.tufJs(), tufVersion, `tuf-js after ${command}`);
    assert.equal(await readers.nodes(), version, `nodes after ${command}`);
  };
  /** A command that stages something: the public part is as it was until it is published. */
  const step = async (name: string, run: () => Promise<unknown>, version: string, tufVersion?: string) => {
    const before = tree;
    await run();
    tree = await readTree(join(repository, 'public'));
    for (const [path, bytes] of before) {
      if (path.startsWith('metadata/')) assert.deepEqual(tree.get(path), bytes, `${path} after ${name}`);
    }
    await publish(context);
    await isRead(name, version, tufVersion);
  };

  await isRead('init', 'E_TARGET_UNKNOWN');
  const add = async (version: string) => {
    const tarball = await makePilotTarball({ directory, version, files: speakingPilot(version) });
    await addRelease({ ...context, tarball });
  };
  const runtime = await makeTarball({
    file: join(directory, 'node.tar.gz'),
    files: { 'bin/node': fakeNode },
    executables: ['bin/node'],
  });
  await step('add', () => add('1.0.0'), 'E_TARGET_UNKNOWN');
  await addRuntime({ ...context, tarball: runtime, version: '26.10.0', arch: 'linux-x64' });
  await step('promote', () => promote({ ...context, version: '1.0.0', channel: 'stable' }), '1.0.0');
  await add('1.1.0');
  await step('another promote', () => promote({ ...context, version: '1.1.0', channel: 'stable' }), '1.1.0');
  // tuf-js reads where the pointer leads; who takes part in a rollout is ours.
  await step('halt', () => halt({ ...context, channel: 'stable' }), '1.0.0', '1.1.0');
  await step('revoke', () => revoke({ ...context, version: '1.1.0' }), '1.0.0');
  await refresh(context);
  await isRead('refresh', '1.0.0');
  await step(
    'revoke of all there is',
    () => revoke({ ...context, version: '1.0.0', kill: true }),
    'E_CHANNEL_YANKED',
    'E_TARGET_UNKNOWN',
  );
});
