import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync, globSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Which folders each folder may import, besides itself. The picture of it is in ARCHITECTURE.md. */
const allowed: Record<string, readonly string[]> = {
  lib: [],
  signing: ['lib'],
  codecache: ['lib', 'signing'],
  agent: ['lib', 'signing', 'codecache'],
  server: ['lib', 'signing'],
  autopilot: ['lib', 'signing', 'codecache'],
  ops: ['lib', 'signing', 'codecache', 'agent', 'server', 'autopilot'],
};

interface Import {
  from: string;
  to: string;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8');
  const found = text.matchAll(/(?:from|import)\s*\(?\s*'(\.{1,2}\/[^']+)'/g);
  return [...found].map(match => ({ from: file, to: relative(root, join(root, dirname(file), match[1]!)) }));
}

const folderOf = (path: string) => path.split(sep)[0]!;

const files = globSync(
  Object.keys(allowed).map(folder => `${folder}/**/*.ts`),
  { cwd: root },
);

test('every import follows the arrows of the architecture', () => {
  assert.ok(files.length > 30, 'the search must find the product');
  const wrong = files
    .flatMap(importsOf)
    .filter(({ from, to }) => {
      const [a, b] = [folderOf(from), folderOf(to)];
      return a !== b && b !== 'package.json' && b !== 'test' && !allowed[a]!.includes(b);
    })
    .map(({ from, to }) => `${from} -> ${to}`);
  assert.deepEqual(wrong, []);
});

test('no product file imports the tests, and no import leaves the checkout', () => {
  // Benches run the daemons of others as tests do, and start them in the same way.
  const mayImportLab = (from: string) => from.startsWith('ops/bench/');
  const wrong = files
    .flatMap(importsOf)
    .filter(({ from, to }) => (to.startsWith('test') && !mayImportLab(from)) || to.startsWith('..'));
  assert.deepEqual(wrong, []);
});

test('no two files import each other in a circle within a folder', () => {
  const graph = new Map(files.map(file => [file, importsOf(file).map(({ to }) => to)]));
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) {
      circles.push([...path.slice(path.indexOf(file)), file].join(' -> '));
      return;
    }
    if (done.has(file)) return;
    for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  assert.deepEqual(circles, []);
});

test('requests go through undici: the built-in fetch is used nowhere', () => {
  const users = files.filter(file => /(?<![.\w])fetch\(/.test(readFileSync(join(root, file), 'utf8')));
  assert.deepEqual(users, []);
});
