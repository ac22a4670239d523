import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  confirms,
  makeAnswer,
  readable,
  validators,
} from '../../../../../codecache/proxy/metadata/answer.ts';

const NOW = Date.UTC(2026, 10, 22, 12);
const answer = (fields: Record<string, string>, status = 200) =>
  makeAnswer(
    { key: '/a', upstream: 'http://origin', body: Buffer.from('x'), notAfterMs: Infinity },
    { status, fields, requestedMs: NOW, receivedMs: NOW },
  );

test('of an upstream only well-formed fields of a short list are kept (RFC 9110 5.5)', () => {
  assert.deepEqual(
    readable({
      etag: '"a"',
      'set-cookie': 'a=b',
      server: 'x',
      'x-powered-by': 'y',
      'content-type': 'text/\u0001html',
      'last-modified': 'x'.repeat(2000),
      'cache-control': 'max-age=1',
    }),
    { etag: '"a"', 'cache-control': 'max-age=1' },
  );
  assert.deepEqual(readable({ etag: 'no quotes' }), {});
  assert.deepEqual(readable({ 'cache-control': 'max-age=9\u0000', vary: 'é' }), {
    'cache-control': 'no-store',
    vary: '*',
  });
});

test('what comes with a cookie is kept only if it says that it is public', () => {
  const fields = { 'cache-control': 'max-age=60', 'set-cookie': 'a=b' };
  assert.equal(answer(fields).freshness.storable, false);
  const open = answer({ ...fields, 'cache-control': 'public, max-age=60' });
  assert.equal(open.freshness.storable, true);
  assert.equal(JSON.stringify(open).includes('a=b'), false);
});

test('freshness is passed on explicitly: as said, from Expires, or none', () => {
  const date = new Date(NOW).toUTCString();
  const expires = new Date(NOW + 60_000).toUTCString();
  assert.equal(answer({ 'cache-control': 'max-age=9, x' }).cacheControl, 'max-age=9, x');
  assert.equal(answer({ expires, date }).cacheControl, 'max-age=60');
  assert.equal(answer({ 'cache-control': 'public', expires, date }).cacheControl, 'public, max-age=60');
  assert.equal(answer({}).cacheControl, 'no-cache');
  assert.equal(answer({ 'cache-control': 'public' }).cacheControl, 'public, no-cache');
});

test('a tag confirms before a date, weak tags too (RFC 9110 13.1, RFC 9111 4.3.1)', () => {
  const dated = { 'last-modified': 'Sun, 06 Nov 1994 08:49:37 GMT' };
  assert.deepEqual(validators(answer({ etag: 'W/"a"', ...dated })), { 'if-none-match': 'W/"a"' });
  assert.deepEqual(validators(answer(dated)), { 'if-modified-since': dated['last-modified'] });
  assert.deepEqual(validators(answer({})), {});
});

test('a 304 is about a stored answer by its strong tag, its weak one, its date, or when it names none (4.3.4)', () => {
  const [strong, weak, none] = [answer({ etag: '"a"' }), answer({ etag: 'W/"a"' }), answer({})];
  assert.deepEqual([confirms({ etag: '"a"' }, strong), confirms({ etag: '"b"' }, strong)], [true, false]);
  assert.deepEqual([confirms({ etag: '"a"' }, weak), confirms({ etag: 'W/"a"' }, strong)], [false, true]);
  assert.deepEqual(
    [confirms({ etag: '"a"' }, none), confirms({}, none), confirms({}, strong)],
    [false, true, true],
  );
  const dated = answer({ 'last-modified': 'Sun, 06 Nov 1994 08:49:37 GMT' });
  assert.equal(confirms({ 'last-modified': 'Sun, 06 Nov 1994 08:49:38 GMT' }, dated), false);
});

test('an answer that varies by what is not passed on is never fresh', () => {
  const { freshness, vary } = answer({ 'cache-control': 'max-age=60', etag: '"a"', vary: 'Cookie' });
  assert.deepEqual([freshness.freshUntilMs, vary], [NOW, 'Cookie']);
});
