import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { Header } from 'tar';
import { releaseVersion } from '../../../../../signing/release/builds/pilot-manifest.ts';
import { inspectTarball } from '../../../../../signing/release/builds/inspect-tarball.ts';

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pilotage-tarball-'));
});
after(() => rm(directory, { recursive: true, force: true }));

interface Entry {
  path: string;
  text?: string;
  type?: 'File' | 'Directory' | 'SymbolicLink' | 'Link' | 'FIFO' | 'CharacterDevice';
  linkpath?: string;
  mode?: number;
}

function tarOf(entries: Entry[]): Buffer {
  const blocks = entries.flatMap(({ path, text = '', type = 'File', linkpath, mode = 0o644 }) => {
    const header = new Header({
      path,
      type,
      mode,
      size: text.length,
      mtime: new Date(0),
      linkpath: linkpath ?? '',
    });
    const block = Buffer.alloc(512);
    header.encode(block);
    const body = Buffer.alloc(Math.ceil(text.length / 512) * 512);
    body.write(text);
    return [block, body];
  });
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]));
}

const limits = { maxBytes: 1 << 20, maxUnpackedBytes: 1000, maxFiles: 3 };
async function inspect(bytes: Buffer, keep: string[] = []) {
  const file = join(directory, 'x.tar.gz');
  await writeFile(file, bytes);
  return inspectTarball({ file, source: 'given.tar.gz', limits, keep });
}

test('names, sizes, hashes, execute bits and wanted bytes of a good tarball', async () => {
  const contents = await inspect(
    tarOf([
      { path: './', type: 'Directory' },
      { path: 'bin/', type: 'Directory', mode: 0o755 },
      { path: './bin/node', text: 'node', mode: 0o755 },
      { path: 'a.txt', text: 'text' },
    ]),
    ['a.txt'],
  );
  const hash = (text: string) => createHash('sha256').update(text).digest('hex');
  assert.deepEqual(contents.files, { 'a.txt': hash('text'), 'bin/node': hash('node') });
  assert.equal(contents.unpackedBytes, 8);
  assert.deepEqual([...contents.executables], ['bin/node']);
  assert.equal(contents.kept.get('a.txt')?.toString(), 'text');
});

const bad: [string, Entry[]][] = [
  ['a symbolic link', [{ path: 'pilot.mjs', type: 'SymbolicLink', linkpath: '/etc/passwd' }]],
  ['a hard link', [{ path: 'pilot.mjs', type: 'Link', linkpath: 'other' }]],
  ['a named pipe', [{ path: 'pilot.mjs', type: 'FIFO' }]],
  ['a device', [{ path: 'pilot.mjs', type: 'CharacterDevice' }]],
  ['an absolute name', [{ path: '/pilot.mjs', text: 'x' }]],
  ['a name with ..', [{ path: 'a/../../pilot.mjs', text: 'x' }]],
  ['a name that a shell may take for a hidden file', [{ path: '.npmrc', text: 'x' }]],
  ['a name that a tool may take for an option', [{ path: '-rf', text: 'x' }]],
  ['a name with two dots', [{ path: 'a..b', text: 'x' }]],
  ['a name with a space', [{ path: 'pilot mjs', text: 'x' }]],
  ['a name with a quote', [{ path: 'pilot"mjs', text: 'x' }]],
  [
    'the same name twice',
    [
      { path: 'a', text: 'x' },
      { path: './a', text: 'y' },
    ],
  ],
  ['too many files', ['a', 'b', 'c', 'd'].map(path => ({ path, text: 'x' }))],
  [
    'too many bytes',
    [
      { path: 'a', text: 'x'.repeat(600) },
      { path: 'b', text: 'x'.repeat(600) },
    ],
  ],
];
for (const [what, entries] of bad) {
  test(`refuses ${what}`, async () => {
    await assert.rejects(inspect(tarOf(entries)), { code: 'E_TARBALL_INVALID', where: 'given.tar.gz' });
  });
}

test('a version makes a path that the wrapper takes', () => {
  for (const good of ['1.0.0', '26.10.0', '1.0.0-rc.1', '2_b'])
    assert.ok(releaseVersion.safeParse(good).success, good);
  for (const bad of ['1..0', '1.', '1.0..', 'v1', '', '1/0'])
    assert.ok(!releaseVersion.safeParse(bad).success, bad);
});

test('refuses what is no gzip, no tar, or cut off', async () => {
  const good = tarOf([{ path: 'a', text: 'x'.repeat(900) }]);
  for (const bytes of [
    Buffer.from('hello'),
    gzipSync(Buffer.alloc(3000, 'z')),
    good.subarray(0, good.length - 20),
  ]) {
    await assert.rejects(inspect(bytes), { code: 'E_TARBALL_INVALID' });
  }
  assert.ok((await readFile(join(directory, 'x.tar.gz'))).length > 0);
});
