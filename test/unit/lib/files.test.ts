import { test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, readFile, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readTextBounded, writeFileAtomic } from '../../../lib/files.ts';

test('an atomic write leaves the whole new file, its mode, and nothing else', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-files-'));
  t.after(() => rm(directory, { recursive: true }));
  const file = join(directory, 'secret');
  await writeFileAtomic(file, 'one', { mode: 0o600 });
  await writeFileAtomic(file, 'two', { mode: 0o600 });
  assert.equal(await readFile(file, 'utf8'), 'two');
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.deepEqual(await readdir(directory), ['secret']);
  await assert.rejects(writeFileAtomic(join(directory, 'no', 'x'), ''), { code: 'E_FILE_MISSING' });
});

test('a bounded read refuses what is too large, missing or a directory, naming the path', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-files-'));
  t.after(() => rm(directory, { recursive: true }));
  const file = join(directory, 'x');
  await writeFileAtomic(file, 'abcdef');
  assert.equal(await readTextBounded(file, 6), 'abcdef');
  await assert.rejects(readTextBounded(file, 5), { code: 'E_FILE_UNREADABLE', where: file });
  await assert.rejects(readTextBounded(join(directory, 'y')), {
    code: 'E_FILE_MISSING',
    where: join(directory, 'y'),
  });
  await assert.rejects(readTextBounded(directory), { code: 'E_FILE_UNREADABLE' });
});
