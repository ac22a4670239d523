import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFile, rename, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeReleaseRepository } from '../lab/release-repository.ts';
import { temporaryDirectory } from '../lab/temporary.ts';

const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

test('docs/how-to/run-a-mirror.md: its commands work as they stand, one after the other', async t => {
  const directory = await temporaryDirectory(t, 'docs');
  const lab = await makeReleaseRepository({ directory });
  await rename(lab.directory, join(directory, 'repo'));
  await symlink(join(checkout, 'pilotage'), join(directory, 'pilotage'));
  const page = await readFile(join(checkout, 'docs/how-to/run-a-mirror.md'), 'utf8');
  const blocks = [...page.matchAll(/```sh\n(.*?)```/gs)].map(([, text]) => text!);
  assert.equal(blocks.length, 5);
  const { status, stdout, stderr } = spawnSync('sh', ['-euc', blocks.join('\n')], {
    cwd: directory,
    encoding: 'utf8',
    timeout: 280_000,
  });
  assert.equal(status, 0, stderr + stdout);
  assert.match(stdout, /Published timestamp 501, snapshot 51/);
});
