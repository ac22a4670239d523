import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { Header } from 'tar';
import { firstDamaged, unpack } from '../../../../codecache/client/unpack.ts';
import { temporaryDirectory } from '../../../lab/temporary.ts';

interface Entry {
  path: string;
  type?: 'File' | 'SymbolicLink' | 'Link' | 'Directory' | 'CharacterDevice' | 'FIFO';
  body?: string;
  linkpath?: string;
}

/** A tar.gz with exactly these headers, however nasty. */
function archiveOf(entries: Entry[]): Buffer {
  const blocks: Buffer[] = [];
  for (const { path, type = 'File', body = '', linkpath } of entries) {
    const header = new Header({
      path,
      type,
      size: body.length,
      mode: 0o755,
      ...(linkpath !== undefined && { linkpath }),
    });
    header.encode();
    blocks.push(header.block!, Buffer.from(body), Buffer.alloc((512 - (body.length % 512)) % 512));
  }
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]));
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

async function tryUnpack(base: string, entries: Entry[], files: Record<string, string>, bytes?: Buffer) {
  const archive = join(base, 'archive.tar.gz');
  await writeFile(archive, bytes ?? archiveOf(entries));
  const directory = join(base, 'inner', 'out');
  await mkdir(join(base, 'inner'), { recursive: true });
  await unpack({ archive, directory, files, where: 'http://cache/targets/x' });
  return directory;
}

const good = { 'bin/node': sha256('binary'), 'pilot.mjs': sha256('code') };
const goodEntries: Entry[] = [
  { path: 'bin/', type: 'Directory' },
  { path: 'bin/node', body: 'binary' },
  { path: './pilot.mjs', body: 'code' },
];

test('signed files come out as they were signed', async t => {
  const directory = await tryUnpack(await temporaryDirectory(t), goodEntries, good);
  assert.deepEqual((await readdir(directory, { recursive: true })).sort(), ['bin', 'bin/node', 'pilot.mjs']);
  assert.ok(((await lstat(join(directory, 'bin/node'))).mode & 0o100) !== 0);
  assert.equal(await firstDamaged(directory, good), undefined);
});

const nasty: [string, Entry[]][] = [
  ['an absolute path', [{ path: '/tmp/evil', body: 'x' }]],
  ['a path that climbs', [{ path: '../evil', body: 'x' }]],
  ['a path that climbs inside', [{ path: 'bin/../../evil', body: 'x' }]],
  ['a symbolic link', [{ path: 'link', type: 'SymbolicLink', linkpath: '/etc/passwd' }]],
  ['a hard link', [...goodEntries, { path: 'hard', type: 'Link', linkpath: 'pilot.mjs' }]],
  ['a link for a signed file', [{ path: 'pilot.mjs', type: 'SymbolicLink', linkpath: 'bin/node' }]],
  ['a device', [{ path: 'dev', type: 'CharacterDevice' }]],
  ['a pipe', [{ path: 'pipe', type: 'FIFO' }]],
  ['a file that was not signed', [...goodEntries, { path: 'more', body: 'x' }]],
  ['a file twice', [...goodEntries, { path: 'pilot.mjs', body: 'code' }]],
  ['other bytes', [...goodEntries.slice(0, 2), { path: 'pilot.mjs', body: 'evil' }]],
  ['a missing file', goodEntries.slice(0, 2)],
  ['a directory that climbs', [{ path: '../out2/', type: 'Directory' }]],
  ['a directory of no signed file', [{ path: 'elsewhere/', type: 'Directory' }]],
];
for (const [what, entries] of nasty) {
  test(`refused: ${what}`, async t => {
    const base = await temporaryDirectory(t);
    await assert.rejects(tryUnpack(base, entries, good), {
      code: 'E_ARCHIVE_UNSAFE',
      where: 'http://cache/targets/x',
    });
    assert.deepEqual(await readdir(join(base, 'inner')), ['out'], 'nothing outside of its directory');
    assert.ok(!existsSync('/tmp/evil'));
  });
}

test('refused: what is no archive', async t => {
  const base = await temporaryDirectory(t);
  await assert.rejects(tryUnpack(base, [], good, Buffer.from('<html>')), { code: 'E_ARCHIVE_UNSAFE' });
});

test('whatever names an archive holds, nothing is written outside of its directory', async t => {
  const base = await temporaryDirectory(t, 'unpack');
  const part = fc.constantFrom('..', '.', '', 'a', 'bin', 'pilot.mjs', '\\', 'C:', '~', 'ü', ' ');
  const path = fc.tuple(
    fc.constantFrom('', '/', './', '../'),
    fc.array(part, { minLength: 1, maxLength: 5 }),
  );
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(path, { minLength: 1, maxLength: 4 }), async paths => {
      run += 1;
      const own = join(base, String(run));
      await mkdir(own);
      const entries = paths.map(([start, parts]) => ({ path: start + parts.join('/'), body: 'x' }));
      const files = { a: sha256('x'), 'bin/a': sha256('x') };
      await tryUnpack(own, entries, files).catch(() => undefined);
      assert.deepEqual((await readdir(own)).sort(), ['archive.tar.gz', 'inner']);
      assert.deepEqual(await readdir(join(own, 'inner')), ['out']);
      for (const name of await readdir(join(own, 'inner/out'), { recursive: true }))
        assert.match(name, /^(a|bin|bin\/a)$/);
    }),
    { numRuns: 100 },
  );
});
