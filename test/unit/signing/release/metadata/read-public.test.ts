import { test } from 'node:test';
import assert from 'node:assert/strict';
import { directoryReader, readReleaseMetadata } from '../../../../../signing/release/metadata/read-public.ts';
import { makeReleaseRepository } from '../../../../lab/release-repository.ts';
import { temporaryDirectory } from '../../../../lab/temporary.ts';

test('a repository from before a role was there is read without it', async t => {
  const { publicDirectory: where } = await makeReleaseRepository({ directory: await temporaryDirectory(t) });
  const read = directoryReader(where);
  const whole = await readReleaseMetadata(read, { where });
  assert.ok(whole.roles.trust);
  const { trust: _, ...others } = whole.roles;
  const older = await readReleaseMetadata(
    async path => {
      const bytes = await read(path);
      if (!path.endsWith('.snapshot.json')) return bytes;
      const snapshot = JSON.parse(String(bytes)) as { signed: { meta: Record<string, unknown> } };
      delete snapshot.signed.meta['trust.json'];
      return Buffer.from(JSON.stringify(snapshot));
    },
    { where },
  );
  assert.deepEqual(older.roles, others);
});
