import assert from 'node:assert/strict';
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { fileNameOf, metadataDirectory } from '../../../../../codecache/client/updater/metadata-directory.ts';
import { temporaryDirectory } from '../../../../lab/temporary.ts';

const evilNames = [
  '../up',
  '/etc/passwd',
  '..',
  '.',
  '',
  'a/b',
  'a%2Fb',
  '?',
  '#',
  'a\0b',
  '\ud800',
  'ä',
  '__proto__',
];

test('whatever a role is called, its file is one of the directory, and no other role’s', async t => {
  const directory = await temporaryDirectory(t);
  const inner = join(directory, 'inner');
  await writeFile(join(directory, 'outside.json'), 'untouched');
  await mkdir(inner);
  const store = metadataDirectory(inner);
  for (const name of evilNames) await store.write(name, Buffer.from(name));
  for (const name of evilNames) assert.deepEqual(await store.read(name), Buffer.from(name), name);
  assert.equal((await readdir(inner)).length, evilNames.length);
  assert.deepEqual((await readdir(directory)).sort(), ['inner', 'outside.json']);
  assert.equal((await stat(join(inner, 'a%2Fb.json'))).mode & 0o777, 0o600);
  for (const name of evilNames) await store.remove(name);
  assert.deepEqual(await readdir(inner), []);
});

test('names of files are plain, and differ as the names of roles do', () => {
  const name = fc.oneof(fc.string({ unit: 'binary', maxLength: 25 }), fc.constantFrom(...evilNames));
  fc.assert(
    fc.property(name, name, (a, b) => {
      const file = fileNameOf(a);
      assert.match(file, /^[A-Za-z0-9%_.!~*'()-]*\.json$/);
      assert.equal(basename(file), file);
      assert.equal(file === fileNameOf(b), a === b);
    }),
  );
  assert.throws(() => fileNameOf('x'.repeat(246)), { code: 'E_TUF_FORMAT' });
  assert.equal(fileNameOf('x'.repeat(245)).length, 250);
});

test('a file that another process renewed meanwhile stays as that one has it', async t => {
  const directory = await temporaryDirectory(t);
  const [mine, theirs] = [metadataDirectory(directory), metadataDirectory(directory)];
  const text = async () => (await metadataDirectory(directory).read('timestamp'))?.toString();
  await mine.write('timestamp', Buffer.from('1'));
  assert.equal((await theirs.read('timestamp'))?.toString(), '1');
  await theirs.write('timestamp', Buffer.from('3'));
  await mine.write('timestamp', Buffer.from('2'));
  assert.equal(await text(), '3');
  await mine.remove('timestamp');
  assert.equal(await text(), '3');
  await theirs.write('timestamp', Buffer.from('4'));
  assert.equal(await text(), '4');
  await theirs.remove('timestamp');
  assert.equal(await text(), undefined);
  await theirs.remove('timestamp');
});

test('a directory that cannot be read or written is named', async t => {
  const missing = join(await temporaryDirectory(t), 'missing');
  await assert.rejects(metadataDirectory(missing).write('root', Buffer.from('x')), {
    code: 'E_FILE_MISSING',
    where: join(missing, 'root.json'),
  });
  assert.equal(await metadataDirectory(missing).read('root'), undefined);
});
