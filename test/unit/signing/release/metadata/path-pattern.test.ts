import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { matchesPattern } from '../../../../../signing/release/metadata/path-pattern.ts';

test('patterns name paths as a shell does, and none crosses a slash', () => {
  const table: [string, string[], string[]][] = [
    ['*', ['a', 'a.tgz', '.hidden', ''], ['a/b', '/a']],
    ['targets/*.tgz', ['targets/foo.tgz', 'targets/.tgz'], ['targets/foo.txt', 'targets/a/b.tgz', 'foo.tgz']],
    ['foo-?.tgz', ['foo-2.tgz', 'foo-é.tgz', 'foo-😀.tgz'], ['foo-22.tgz', 'foo-.tgz', 'foo-/.tgz']],
    ['pilot/*/*', ['pilot/1/x'], ['pilot/1', 'pilot/1/x/y', 'pilots/1/x']],
    ['a*b*c', ['abc', 'aXbYc', 'abbcc', 'abcbc'], ['ab', 'acb', 'abcd']],
    ['[a-c][!0-9]', ['ax', 'b-', 'cc'], ['dx', 'a1', 'a', 'a/']],
    ['[]x]', [']', 'x'], ['a']],
    ['[!]]', ['a'], [']']],
    ['[a-]', ['a', '-'], ['b']],
    ['[abc', ['[abc'], ['a']],
    // Nothing else is special: other libraries' braces, negations and comments are plain text.
    ['{a,b}', ['{a,b}'], ['a', 'b']],
    ['!a', ['!a'], ['b']],
    ['#a', ['#a'], ['a']],
    ['**', ['ab'], ['a/b']],
    ['a.c', ['a.c'], ['abc']],
    ['a\\*', ['a\\x'], ['a*']],
    ['', [''], ['a']],
  ];
  for (const [pattern, paths, others] of table) {
    for (const path of paths) assert.equal(matchesPattern(pattern, path), true, `${pattern} ${path}`);
    for (const path of others) assert.equal(matchesPattern(pattern, path), false, `${pattern} ${path}`);
  }
});

test('stars and question marks agree with the regular expression they stand for', () => {
  const text = (unit: string[]) => fc.string({ unit: fc.constantFrom(...unit), maxLength: 12 });
  fc.assert(
    fc.property(text(['a', 'b', '/', '*', '?']), text(['a', 'b', '/']), (pattern, path) => {
      const expression = new RegExp(`^${pattern.replaceAll('*', '[^/]*').replaceAll('?', '[^/]')}$`);
      assert.equal(matchesPattern(pattern, path), expression.test(path));
    }),
    { numRuns: 2000 },
  );
});

test('a pattern made to be slow is not', () => {
  const started = process.cpuUsage().user;
  assert.equal(matchesPattern(`${'*a'.repeat(2000)}b`, 'a'.repeat(2000)), false);
  assert.ok(process.cpuUsage(undefined).user - started < 2e6, 'two seconds of a processor');
});
