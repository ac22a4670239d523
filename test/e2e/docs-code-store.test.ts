import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort } from '../lab/ports.ts';
import { makeReleaseRepository } from '../lab/release-repository.ts';
import { temporaryDirectory } from '../lab/temporary.ts';

const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

test('docs/how-to/run-the-code-store.md: its commands work as they stand', async t => {
  const directory = await temporaryDirectory(t, 'docs-store');
  const lab = await makeReleaseRepository({ directory });
  await symlink(join(checkout, 'pilotage'), join(directory, 'pilotage'));
  await symlink(lab.directory, join(directory, 'repo'));
  await symlink(lab.keysDirectory, join(directory, 'online'));
  const page = await readFile(join(checkout, 'docs/how-to/run-the-code-store.md'), 'utf8');
  const blocks = [...page.matchAll(/```sh\n(.*?)```/gs)].map(([, text]) => text!);
  assert.equal(blocks.length, 4);
  const [store, refresh] = [await freePort(), await freePort()];
  const script = blocks
    .join('\n')
    .replaceAll('127.0.0.1:8090', `127.0.0.1:${store}`)
    .replaceAll('127.0.0.1:8093', `127.0.0.1:${refresh}`);
  // Services run until they are told to end.
  const whole = `trap 'kill $(jobs -p); wait' EXIT\n${script}`;
  const { stdout } = await promisify(execFile)('bash', ['-euc', whole], {
    cwd: directory,
    timeout: 120_000,
    env: { ...process.env, PILOTAGE_LOG: 'error' },
  });
  assert.match(stdout, /"ready":true,"version"/);
  assert.match(stdout, /^x-server-version: \d+\.\d+\.\d+\+g/im);
  assert.match(stdout, /^cache-control: public, max-age=30, stale-if-error=\d+/im);
  assert.match(stdout, /"verified":true/);
  assert.match(stdout, /^pilotage_store_role_expires_seconds\{role="stable"\} \d+/m);
  assert.match(stdout, /^pilotage_release_alarm\{role="timestamp"\} 0$/m);
  assert.match(
    await readFile(join(directory, 'access.log.1'), 'utf8'),
    /"path":"\/metadata\/timestamp.json"/,
  );
  assert.match(await readFile(join(directory, 'access.log'), 'utf8'), /"path":"\/livez"/);
});
