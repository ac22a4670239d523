import { test } from 'node:test';
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { referenceFiles } from '../../scripts/write-reference.ts';
import { errorTable } from '../../lib/error-table.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string) => readFileSync(join(root, path), 'utf8');

test('the generated reference is that of the code (npm run docs)', async () => {
  for (const [path, text] of await referenceFiles()) {
    assert.ok(existsSync(join(root, path)), `${path} is missing: run npm run docs`);
    assert.equal(read(path), text, `${path} is not that of the code: run npm run docs`);
  }
});

test('docs/reference/errors.md has every code of the product, and no other', () => {
  const sources = [
    ...globSync('{lib,signing,codecache,server,agent,autopilot,ops}/**/*.{ts,sh}', { cwd: root }),
    'pilotage',
    'scripts/runtime.sh',
  ];
  const inCode = new Set(
    sources.flatMap(path =>
      [...read(path).matchAll(/(?<=(?<!startsWith\()['\s=])E_[A-Z0-9]+(?:_[A-Z0-9]+)*(?=['\s])/g)].map(
        ([code]) => code,
      ),
    ),
  );
  for (const code of Object.keys(errorTable)) inCode.add(code);
  const documented = new Set(
    [...read('docs/reference/errors.md').matchAll(/^\| `(E_[A-Z0-9_]+)`/gm)].map(([, code]) => code!),
  );
  assert.deepEqual(
    [...inCode].filter(code => !documented.has(code)),
    [],
    'codes that the page lacks',
  );
  assert.deepEqual(
    [...documented].filter(code => !inCode.has(code)),
    [],
    'codes that are in no source',
  );
});

test('no link of the documentation leads nowhere', () => {
  const pages = globSync('{*.md,docs/**/*.md}', { cwd: root });
  assert.ok(pages.length > 10);
  const broken = pages.flatMap(page =>
    [...read(page).matchAll(/\]\((?!https?:)([^)#]+)/g)]
      .map(([, target]) => target!)
      .filter(target => !existsSync(join(root, dirname(page), target)))
      .map(target => `${page}: ${target}`),
  );
  assert.deepEqual(broken, []);
});
