import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { removeTree } from '../../../lib/remove-tree.ts';

async function scratch(t: { after(fn: () => Promise<void>): void }): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-remove-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

test('a tree goes that no path can name, with names that are not UTF-8 and directories without permissions', async t => {
  const directory = await scratch(t);
  const tree = join(directory, 'tree');
  await mkdir(tree);
  const long = 'd'.repeat(200);
  execFileSync(
    'sh',
    ['-c', `for i in $(seq 60); do mkdir ${long} && cd -P ./${long} || exit 1; echo x >f; done; chmod 0 .`],
    { cwd: tree },
  );
  execFileSync('sh', ['-c', 'f=$(printf "caf\\351"); mkdir "$f"; echo x >"$f/$f"; mkfifo fifo'], {
    cwd: tree,
  });
  await mkdir(join(tree, 'closed', 'inner'), { recursive: true });
  await chmod(join(tree, 'closed'), 0);
  await removeTree(tree);
  assert.deepEqual(await readdir(directory), []);
});

test('what a link leads to stays, and what is gone is no error', async t => {
  const directory = await scratch(t);
  await mkdir(join(directory, 'tree', 'x'), { recursive: true });
  await writeFile(join(directory, 'precious'), 'here');
  await symlink('../precious', join(directory, 'tree', 'file'));
  await symlink('../../', join(directory, 'tree', 'x', 'up'));
  await removeTree(join(directory, 'tree'));
  assert.equal(existsSync(join(directory, 'tree')), false);
  assert.equal(await readFile(join(directory, 'precious'), 'utf8'), 'here');
  await removeTree(join(directory, 'nowhere'));
});
