import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { byteRange, matchesEtag, rangeApplies } from '../../../../codecache/http/byte-range.ts';

test('a range never reaches outside of the body', () => {
  fc.assert(
    fc.property(
      fc.nat(1000),
      fc.option(fc.nat(1200), { nil: '' }),
      fc.option(fc.nat(1200), { nil: '' }),
      (size, a, b) => {
        const range = byteRange(`bytes=${a}-${b}`, size);
        if (range.kind !== 'part') return;
        assert.ok(range.start >= 0 && range.start <= range.end && range.end < size);
      },
    ),
  );
});

test('malformed, several and foreign ranges are ignored; one past the end is unsatisfiable', () => {
  for (const header of [
    undefined,
    '',
    'bytes=',
    'bytes=-',
    'bytes=5-2',
    'bytes=0-1,4-5',
    'lines=0-1',
    'bytes=a-b',
  ]) {
    assert.deepEqual(byteRange(header, 10), { kind: 'whole' }, String(header));
  }
  assert.deepEqual(byteRange('bytes=10-', 10), { kind: 'unsatisfiable' });
  assert.deepEqual(byteRange('bytes=-0', 10), { kind: 'unsatisfiable' });
  assert.deepEqual(byteRange('bytes=-20', 10), { kind: 'part', start: 0, end: 9 });
  assert.deepEqual(byteRange('bytes=3-100', 10), { kind: 'part', start: 3, end: 9 });
});

test('tags', () => {
  assert.ok(matchesEtag('"a", W/"b"', '"b"'));
  assert.ok(matchesEtag('*', '"b"'));
  assert.ok(!matchesEtag('"a"', '"b"'));
  assert.ok(!matchesEtag(undefined, '"b"'));
  assert.ok(rangeApplies(undefined, '"b"'));
  assert.ok(!rangeApplies('W/"b"', '"b"'));
});
