import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeRelease } from '../../../../../signing/release/history/describe-release.ts';
import { diffReleases } from '../../../../../signing/release/history/diff.ts';
import { diffTexts, textDiffLimits } from '../../../../../signing/release/history/diff-text.ts';
import { targetFile } from '../../../../../signing/release/metadata/role-metadata.ts';

const hash = (digit: string) => digit.repeat(64);

function targetsOf(versions: Record<string, Record<string, unknown>>, beside: string[] = []) {
  const targets = Object.entries(versions).map(([version, custom]) =>
    targetFile({ path: `pilot/${version}/pilot-${version}.tar.gz`, length: 100, sha256: hash('a'), custom }),
  );
  const others = beside.map(path => targetFile({ path, length: 1, sha256: hash('b') }));
  return new Map([...targets, ...others].map(target => [target.path, target]));
}

const released = (custom: Record<string, unknown>, beside: string[] = []) =>
  describeRelease(targetsOf({ '1.0.0': custom }, beside), '1.0.0')!;

test('a release is told by its signed target; what is not signed is not there', () => {
  const custom = {
    version: '1.0.0',
    commit: 'c0ffee',
    tag: 'v1.0.0',
    builder: 'ann@build',
    builtAt: 1_790_000_000,
    requires: { node: '>=24' },
    unpackedSize: 7,
    files: { 'pilot.mjs': hash('1') },
  };
  const release = released(custom, ['pilot/1.0.0/sbom.json', 'pilot/1.0.0x/other', 'runtime/1.0.0/x']);
  assert.deepEqual(release, {
    version: '1.0.0',
    path: 'pilot/1.0.0/pilot-1.0.0.tar.gz',
    sha256: hash('a'),
    bytes: 100,
    unpackedBytes: 7,
    commit: 'c0ffee',
    tag: 'v1.0.0',
    builder: 'ann@build',
    builtAt: '1790000000',
    requires: { node: '>=24' },
    files: { 'pilot.mjs': hash('1') },
    attachments: ['pilot/1.0.0/sbom.json'],
  });
  assert.equal(describeRelease(targetsOf({}), '1.0.0'), null);
  assert.equal(released({ files: 'nonsense' }).commit, 'unknown');
});

test('a diff names every field and file that differs, and nothing else', () => {
  const from = released({
    commit: 'aaa',
    requires: { node: '>=24', glibc: '2.28' },
    files: { kept: hash('1'), changed: hash('2'), constructor: hash('3') },
  });
  const to = released({
    commit: 'bbb',
    requires: { node: '>=26' },
    files: { kept: hash('1'), changed: hash('4'), toString: hash('5') },
  });
  assert.deepEqual(diffReleases(from, to), {
    from: '1.0.0',
    to: '1.0.0',
    fields: [
      { name: 'commit', from: 'aaa', to: 'bbb' },
      { name: 'requires.node', from: '>=24', to: '>=26' },
      { name: 'requires.glibc', from: '2.28', to: null },
    ],
    files: { added: ['toString'], removed: ['constructor'], changed: ['changed'], unchanged: 1 },
  });
  const none = diffReleases(from, from);
  assert.deepEqual([none.fields, none.files.unchanged], [[], 3]);
});

/** One changed file with these contents. */
function textOf(old: Buffer | string, young: Buffer | string, limits = textDiffLimits) {
  const diff = {
    from: '1',
    to: '2',
    fields: [],
    files: { added: [], removed: [], changed: ['f'], unchanged: 0 },
  };
  const contents = { from: new Map([['f', Buffer.from(old)]]), to: new Map([['f', Buffer.from(young)]]) };
  return diffTexts(diff, contents, limits)[0]!;
}

test('changed text is shown as a unified diff that cannot steer a terminal', () => {
  const { patch, note } = textOf('one\ntwo\nthree\n', 'one\n2\u001b[2J\u202e\nthree\n');
  assert.equal(note, null);
  assert.match(
    patch ?? '',
    /^--- 1\/f\n\+\+\+ 2\/f\n@@ -1,3 \+1,3 @@\n one\n-two\n\+2\ufffd\[2J\ufffd\n three\n$/m,
  );
});

test('added and removed files are shown whole', () => {
  const files = { added: ['new'], removed: ['gone'], changed: [], unchanged: 0 };
  const contents = {
    from: new Map([['gone', Buffer.from('x\n')]]),
    to: new Map([['new', Buffer.from('y\n')]]),
  };
  const [gone, added] = diffTexts({ from: '1', to: '2', fields: [], files }, contents);
  assert.deepEqual([gone!.change, added!.change], ['removed', 'added']);
  assert.match(gone!.patch ?? '', /^-x$/m);
  assert.match(added!.patch ?? '', /^\+y$/m);
});

test('what no person would read is named in place of being shown', () => {
  const line = `${'x'.repeat(6000)}\n`;
  assert.equal(textOf('a\0b', 'a').note, 'binary');
  assert.equal(textOf('a', Buffer.from([0xff, 0xfe, 0x41])).note, 'binary');
  assert.equal(textOf(line, 'a\n').note, 'minified');
  assert.equal(textOf('a'.repeat(11), 'a', { ...textDiffLimits, fileBytes: 10 }).note, 'too large');
  assert.equal(textOf('a\n', 'b\n', { ...textDiffLimits, patchLines: 3 }).note, 'too much in all');
  assert.equal(textOf('a\n', 'b\n', { ...textDiffLimits, totalMs: 0 }).note, 'too much in all');
});

test('two long texts that share nothing end in time', () => {
  const lines = (seed: number) =>
    Array.from({ length: 50_000 }, (_, index) => String((index * seed) % 999_983)).join('\n');
  const found = textOf(lines(7919), lines(104_729), { ...textDiffLimits, totalMs: 100 });
  assert.equal(found.note, 'too different');
});
