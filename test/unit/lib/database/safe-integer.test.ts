import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { numeric, safeInteger } from '../../../../lib/database/safe-integer.ts';

test('every whole number up to 2^53-1 is itself, and every one beyond is refused', () => {
  fc.assert(
    fc.property(fc.bigInt(-(2n ** 63n), 2n ** 63n), value => {
      const small = value >= -(2n ** 53n - 1n) && value <= 2n ** 53n - 1n;
      if (small) assert.equal(BigInt(safeInteger(`${value}`)), value);
      else assert.throws(() => safeInteger(`${value}`), RangeError);
    }),
    { examples: [[2n ** 53n - 1n], [2n ** 53n], [-(2n ** 53n)], [0n]] },
  );
});

test('exact numerics with a fraction become doubles', () => {
  assert.deepEqual([numeric('1.5000'), numeric('-3'), numeric('0.1')], [1.5, -3, 0.1]);
  assert.throws(() => numeric('9007199254740993'), RangeError);
});
