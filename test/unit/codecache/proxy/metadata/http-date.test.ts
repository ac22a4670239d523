import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { httpDate } from '../../../../../codecache/proxy/metadata/http-date.ts';

test('the three forms of a date are the same second, in UTC (RFC 9110 5.6.7)', () => {
  const expected = Date.UTC(1994, 10, 6, 8, 49, 37);
  for (const text of [
    'Sun, 06 Nov 1994 08:49:37 GMT',
    'Sunday, 06-Nov-94 08:49:37 GMT',
    'Sun Nov  6 08:49:37 1994',
    ' Sun, 06 Nov 1994 08:49:37 GMT ',
  ])
    assert.equal(httpDate(text), expected, text);
});

test('what Node writes is read back', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4e9 }), seconds => {
      assert.equal(httpDate(new Date(seconds * 1000).toUTCString()), seconds * 1000);
    }),
  );
});

test('anything else is no date', () => {
  for (const text of [
    undefined,
    '',
    '0',
    '1994',
    'Sun, 06 Nov 1994 08:49:37',
    'Sun, 06 Nov 1994 08:49:37 CET',
    'Sun, 06 ovD 1994 08:49:37 GMT',
    'Sun, 31 Feb 1994 08:49:37 GMT',
    'Sun, 06 Nov 1994 25:00:00 GMT',
    '1994-11-06T08:49:37Z',
  ])
    assert.equal(httpDate(text), undefined, String(text));
});
