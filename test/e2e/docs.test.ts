import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

test('docs/how-to/publish-a-release.md: its commands work as they stand', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-docs-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  for (const name of ['pilotage', 'build']) await symlink(join(checkout, name), join(directory, name));
  const page = await readFile(join(checkout, 'docs/how-to/publish-a-release.md'), 'utf8');
  const blocks = [...page.matchAll(/```sh\n(.*?)```/gs)].map(([, text]) => text!);
  assert.equal(blocks.length, 2);
  // The last command runs until it is stopped; npm works in the checkout.
  const script = blocks
    .join('\n')
    .replaceAll(/^npm run (\S+)$/gm, `(cd '${checkout}' && npm run $1)`)
    .replace(/^\.\/pilotage store serve.*$/m, '');
  const { status, stdout, stderr } = spawnSync('sh', ['-euc', script], {
    cwd: directory,
    encoding: 'utf8',
    timeout: 280_000,
  });
  assert.equal(status, 0, stderr + stdout);
  assert.match(stdout, /stable/);
});
