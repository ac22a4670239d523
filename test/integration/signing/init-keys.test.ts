import assert from 'node:assert/strict';
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../../lib/clock.ts';
import { ReleaseConfig } from '../../../signing/config/schema.ts';
import { openKeyDirectory } from '../../../signing/keys/key-directory.ts';
import type { KnownKey } from '../../../signing/keys/signer.ts';
import { places } from '../../../signing/release/layout.ts';
import { resignRole } from '../../../signing/release/repository/amend-role.ts';
import { initRepository } from '../../../signing/release/repository/init-repository.ts';
import type { ReleaseContext } from '../../../signing/release/repository/repository.ts';
import { fileStorage } from '../../../signing/release/storage/file-storage.ts';
import { verifyRepository } from '../../../signing/release/repository/verify-repository.ts';
import { temporaryDirectory, type Ending } from '../../lab/temporary.ts';

/** A place for a repository and its keys, neither of them there yet. */
async function place(t: Ending) {
  const directory = await temporaryDirectory(t, 'init-keys');
  const ring = (name: string) =>
    openKeyDirectory({
      directory: join(directory, name),
      clock: systemClock,
      scryptN: 1024,
      passphrases: async () => 'open sesame',
    });
  const context: ReleaseContext = {
    storage: fileStorage(join(directory, 'repository')),
    keys: ring('keys'),
    clock: systemClock,
  };
  const handOver = async ({ name, keyId, public: parts }: KnownKey) => {
    await mkdir(join(directory, 'keys'), { recursive: true });
    const text = JSON.stringify({ schema: 1, name, keyId, public: parts });
    await writeFile(join(directory, 'keys', `${name}.pub.json`), text);
  };
  return { directory, ring, context, handOver };
}

test('a manager whose key is elsewhere is in from the start, by the public part alone', async t => {
  const { directory, ring, context, handOver } = await place(t);
  const carla = await ring('carla').create('manager-3');
  await handOver(carla);
  const made = await initRepository({ ...context, config: ReleaseConfig.parse({}) });
  assert.deepEqual(made.keysReused, ['manager-3']);
  const { roles } = await verifyRepository(context);
  assert.equal(roles.stable?.version, 1);
  // Her key signs for stable, without anything more being said.
  await copyFile(carla.where, join(directory, 'keys/manager-3.key.json'));
  await rm(join(directory, 'keys/manager-1.key.json'));
  const later = { ...context, keys: ring('keys') };
  assert.equal((await resignRole({ ...later, role: 'stable' })).version, 2);
});

test('too many keys elsewhere leave too few to sign, and the role is named', async t => {
  const { ring, context, handOver } = await place(t);
  for (const name of ['manager-2', 'manager-3']) await handOver(await ring('others').create(name));
  await assert.rejects(initRepository({ ...context, config: ReleaseConfig.parse({}) }), {
    code: 'E_THRESHOLD_NOT_MET',
    where: 'role stable',
    found: 'manager-1',
    fix: /^(?!.*--propose).*release rotate-key/,
  });
  assert.deepEqual(await context.storage.list(places.staged), []);
});

test('a role that bare nodes could not verify is refused, unless there are none', async t => {
  const { context } = await place(t);
  await context.keys.create('timestamp', 'ed25519');
  await assert.rejects(initRepository({ ...context, config: ReleaseConfig.parse({}) }), {
    code: 'E_KEY_SCHEME',
    where: 'role timestamp',
    expected: '1 keys of the scheme ecdsa-sha2-nistp256',
  });
  await initRepository({ ...context, config: ReleaseConfig.parse({ bareNodes: false }) });
  assert.equal((await verifyRepository(context)).roles.timestamp?.version, 1);
});
