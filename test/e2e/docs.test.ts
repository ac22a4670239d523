import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

test('docs/how-to/release-manager.md: its commands work as they stand, one after the other', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-docs-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  for (const name of ['pilotage', 'build']) await symlink(join(checkout, name), join(directory, name));
  const page = await readFile(join(checkout, 'docs/how-to/release-manager.md'), 'utf8');
  const blocks = [...page.matchAll(/```sh\n(.*?)```/gs)].map(([, text]) => text!);
  assert.ok(blocks.length > 8);
  // Daemons run until they are stopped; npm works in the checkout.
  const script = blocks
    .join('\n')
    .replaceAll(/^npm run (\S+)$/gm, `(cd '${checkout}' && npm run $1)`)
    .replaceAll(/^\.\/pilotage .*(store serve|--daemon).*$/gm, '');
  const { status, stdout, stderr } = spawnSync('sh', ['-euc', script], {
    cwd: directory,
    encoding: 'utf8',
    timeout: 280_000,
  });
  assert.equal(status, 0, stderr + stdout);
  assert.match(stdout, /^canary: every node starts 1\.0\.0$/m, 'the withdrawal was published');
  assert.match(stdout, /^1\.1\.0 {2}commit [0-9a-f]{40} /m, 'the history tells of it');
});

test('docs/how-to/release-keys.md: a key is made, listed and handed over as it says', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-docs-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  await symlink(join(checkout, 'pilotage'), join(directory, 'pilotage'));
  const passphrase = join(directory, 'passphrase');
  await writeFile(passphrase, 'for the test\n', { mode: 0o600 });
  const page = await readFile(join(checkout, 'docs/how-to/release-keys.md'), 'utf8');
  const { status, stdout, stderr } = spawnSync('sh', ['-euc', /```sh\n(.*?)```/s.exec(page)![1]!], {
    cwd: directory,
    env: { ...process.env, HOME: directory, PILOTAGE_PASSPHRASE_FILE: passphrase },
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(status, 0, stderr + stdout);
  assert.match(stdout, /^anna {2}[0-9a-f]{12} {2}ecdsa-sha2-nistp256/m);
  const handedOver = await readFile(join(directory, 'anna.pub.json'), 'utf8');
  assert.doesNotMatch(handedOver, /encrypted|PRIVATE/i);
});
