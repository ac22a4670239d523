import assert from 'node:assert/strict';
import { join, resolve, sep } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { objectName, publicPath } from '../../../../codecache/http/object-name.ts';

const piece = fc.oneof(
  fc.constantFrom(
    '..',
    '.',
    '/',
    '\\',
    '%2e',
    '%2E%2e',
    '%2f',
    '%5c',
    '%00',
    '\0',
    'metadata',
    'targets',
    '//',
    '?',
    '#',
    '~',
  ),
  fc.string({ maxLength: 8 }),
  fc.stringMatching(/^[A-Za-z0-9._+-]{1,12}$/),
);
const target = fc
  .tuple(
    fc.constantFrom('/metadata/', '/targets/', '/', '', 'http://host/'),
    fc.array(piece, { maxLength: 8 }),
  )
  .map(([start, pieces]) => start + pieces.join(''));

test('no request target leaves the public directory or names a hidden file', () => {
  const base = resolve('/srv/public');
  fc.assert(
    fc.property(target, text => {
      const path = publicPath(text);
      if (path === undefined) return;
      assert.ok(resolve(join(base, path)).startsWith(base + sep));
      assert.equal(resolve(join(base, path)), join(base, path), 'nothing to normalise');
      assert.match(path, /^(metadata|targets)\/[A-Za-z0-9._/+-]+$/);
      assert.ok(!path.split('/').some(part => part === '' || part.startsWith('.')));
    }),
    { numRuns: 5000 },
  );
});

test('every name that a repository publishes is let through, as it is or percent-encoded', () => {
  const part = fc.stringMatching(/^[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,20}$/);
  fc.assert(
    fc.property(
      fc.constantFrom('metadata', 'targets'),
      fc.array(part, { minLength: 1, maxLength: 5 }),
      (top, parts) => {
        const path = [top, ...parts].join('/');
        assert.equal(publicPath(`/${path}`), path);
        assert.equal(publicPath(`/${[top, ...parts].map(encodeURIComponent).join('/')}`), path);
      },
    ),
  );
});

test('names are told apart', () => {
  const sha256 = 'ab'.repeat(32);
  const kinds = {
    'metadata/timestamp.json': { kind: 'timestamp' },
    'metadata/12.root.json': { kind: 'root', version: 12 },
    'metadata/3.snapshot.json': { kind: 'versioned', version: 3, role: 'snapshot' },
    'metadata/0.root.json': { kind: 'other' },
    'metadata/root.json': { kind: 'other' },
    [`targets/pilot/1/${sha256}.pilot.tar.gz`]: { kind: 'hash-named', sha256 },
    [`targets/${sha256.toUpperCase()}.x`]: { kind: 'other' },
    [`metadata/${sha256}.x`]: { kind: 'other' },
    'targets/plain.txt': { kind: 'other' },
  };
  for (const [path, expected] of Object.entries(kinds))
    assert.deepEqual(objectName(path), { ...expected, path });
});
