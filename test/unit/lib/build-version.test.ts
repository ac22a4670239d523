import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { commitOf } from '../../../lib/build-version.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';

const A = 'a'.repeat(40);
const B = 'b'.repeat(40);

test('the commit of a checkout: a detached head, a branch, a packed branch', async t => {
  const directory = await temporaryDirectory(t, 'commit');
  await mkdir(join(directory, '.git/refs/heads'), { recursive: true });
  const head = (text: string) => writeFile(join(directory, '.git/HEAD'), text);
  await head(`${A}\n`);
  assert.equal(commitOf(directory), A);
  await head('ref: refs/heads/main\n');
  assert.equal(commitOf(directory), undefined);
  await writeFile(join(directory, '.git/packed-refs'), `# pack-refs\n${B} refs/heads/main\n`);
  assert.equal(commitOf(directory), B);
  await writeFile(join(directory, '.git/refs/heads/main'), `${A}\n`);
  assert.equal(commitOf(directory), A);
});

test('the commit of an unpacked archive; none in a directory that has neither', async t => {
  const directory = await temporaryDirectory(t, 'commit');
  assert.equal(commitOf(directory), undefined);
  await mkdir(join(directory, 'lib'));
  await writeFile(join(directory, 'lib/archived-commit.txt'), '$Format:%H$\n');
  assert.equal(commitOf(directory), undefined);
  await writeFile(join(directory, 'lib/archived-commit.txt'), `${A}\n`);
  assert.equal(commitOf(directory), A);
});
