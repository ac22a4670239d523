import assert from 'node:assert/strict';
import type { IncomingHttpHeaders } from 'node:http';
import { test } from 'node:test';
import type { AnswerHead } from '../../../../../codecache/proxy/front/answer-head.ts';
import { portionOf } from '../../../../../codecache/proxy/front/portion.ts';

const head: AnswerHead = {
  status: 200,
  contentType: 'application/json',
  cacheControl: 'max-age=60',
  etag: '"e"',
  lastModified: 'Thu, 01 Jan 2026 00:00:00 GMT',
  vary: undefined,
  length: 10,
  ranges: true,
  bornMs: 0,
  freshUntilMs: 60_000,
};
const kind = (headers: IncomingHttpHeaders, of: Partial<AnswerHead> = {}, method = 'GET') =>
  portionOf({ method, headers }, { ...head, ...of }).kind;

const before = 'Wed, 31 Dec 2025 23:59:59 GMT';
const after = 'Fri, 02 Jan 2026 00:00:00 GMT';

test('If-None-Match decides before If-Modified-Since, and both before Range (RFC 9110 13.2.2)', () => {
  assert.equal(kind({}), 'whole');
  assert.equal(kind({ 'if-none-match': 'W/"e"', range: 'bytes=0-1' }), 'not-modified');
  assert.equal(kind({ 'if-none-match': '*' }, { etag: undefined }), 'not-modified');
  assert.equal(kind({ 'if-none-match': '"x"', 'if-modified-since': after, range: 'bytes=0-1' }), 'part');
  assert.equal(kind({ 'if-modified-since': after }), 'not-modified');
  assert.equal(kind({ 'if-modified-since': head.lastModified! }), 'not-modified');
  assert.equal(kind({ 'if-modified-since': before }), 'whole');
  assert.equal(kind({ 'if-modified-since': after }, { lastModified: undefined }), 'whole');
  assert.equal(kind({ 'if-modified-since': 'tomorrow' }), 'whole');
});

test('preconditions that are not for caches, and answers that are not 200, change nothing', () => {
  assert.equal(kind({ 'if-match': '"x"', 'if-unmodified-since': before }), 'whole');
  assert.equal(kind({ 'if-none-match': '*', range: 'bytes=0-1' }, { status: 404 }), 'whole');
});

test('a part only of what may be asked for in parts, with a strong tag, by GET', () => {
  assert.equal(kind({ range: 'bytes=99-' }), 'unsatisfiable');
  assert.equal(kind({ range: 'bytes=0-1' }, { ranges: false }), 'whole');
  assert.equal(kind({ range: 'bytes=0-1' }, {}, 'HEAD'), 'whole');
  assert.equal(kind({ range: 'bytes=0-1', 'if-range': '"e"' }), 'part');
  assert.equal(kind({ range: 'bytes=0-1', 'if-range': 'W/"e"' }, { etag: 'W/"e"' }), 'whole');
});
