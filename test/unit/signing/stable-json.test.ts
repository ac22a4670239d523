import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { canonicalBytes, stableJson } from '../../../signing/stable-json.ts';

const plainText = fc.stringMatching(/^[ !#-[\]-~\n]{0,20}$/);
const { tree } = fc.letrec(tie => ({
  tree: fc.oneof(
    { depthSize: 'small' },
    plainText,
    fc.maxSafeInteger(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('tree'), { maxLength: 4 }),
    fc.dictionary(plainText, tie('tree'), { maxKeys: 5 }),
  ),
}));

test('what is written parses to the same value, and the same value gives the same bytes', () => {
  fc.assert(
    fc.property(tree, value => {
      const bytes = stableJson(value);
      assert.deepEqual(JSON.parse(bytes.toString()), JSON.parse(JSON.stringify(value)));
      assert.ok(stableJson(JSON.parse(bytes.toString())).equals(bytes));
    }),
  );
});

test('un-escaping the newlines of the file gives exactly the bytes that are signed', () => {
  fc.assert(
    fc.property(tree, value => {
      const unescaped = stableJson(value).toString().replaceAll('\\n', '\n');
      assert.equal(unescaped, canonicalBytes(value).toString());
    }),
  );
});

test('keys that look like numbers are sorted as text too', () => {
  assert.equal(stableJson({ '45': 1, '123': 2, a: 3 }).toString(), '{"123":2,"45":1,"a":3}');
});

test('text that a shell could not check is refused', () => {
  for (const value of ['é', 'a"b', 'a\\b', 'tab\t', 1.5, 2 ** 60, { é: 1 }]) {
    assert.throws(() => stableJson({ value }), TypeError, JSON.stringify(value));
  }
});
