import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { judge, refreshed } from '../../../../../codecache/proxy/metadata/freshness.ts';
import type { Received } from '../../../../../codecache/proxy/metadata/freshness.ts';

const NOW = Date.UTC(2026, 10, 22, 12, 0, 0);
const date = (seconds: number) => new Date(NOW + seconds * 1000).toUTCString();

/** Seconds from when the answer came until it is stale, and until it may not be served on errors either. */
function lives(fields: Record<string, string>, more: Partial<Received> = {}, notAfterMs?: number) {
  const received = { status: 200, fields, requestedMs: NOW, receivedMs: NOW, ...more };
  const { storable, freshUntilMs, usableUntilMs, bornMs } = judge(received, notAfterMs);
  return {
    storable,
    fresh: (freshUntilMs - NOW) / 1000,
    usable: (usableUntilMs - NOW) / 1000,
    age: (NOW - bornMs) / 1000,
  };
}

const control = (text: string, more: Record<string, string> = {}) => ({ 'cache-control': text, ...more });

test('freshness lifetime comes from s-maxage, max-age, Expires less Date, in that order (RFC 9111 4.2.1)', () => {
  const cases: [Record<string, string>, number][] = [
    [control('max-age=30'), 30],
    [control('max-age=30, s-maxage=7'), 7],
    [control('s-maxage=7, max-age=30'), 7],
    [control('max-age=30', { expires: date(500), date: date(0) }), 30],
    [{ expires: date(60), date: date(0) }, 60],
    [{ expires: date(60), date: date(-20) }, 80],
    [{ expires: date(60) }, 60],
    [{ expires: date(-1), date: date(0) }, 0],
    [control('public', { expires: date(60), date: date(0) }), 60],
    [control('max-age=0', { expires: date(60), date: date(0) }), 0],
  ];
  for (const [fields, seconds] of cases) assert.equal(lives(fields).fresh, seconds, JSON.stringify(fields));
});

test('there is no freshness that the origin did not state (4.2.2: no heuristics)', () => {
  const unstated: Record<string, string>[] = [
    {},
    { 'last-modified': date(-1e6), date: date(0) },
    control('public'),
    control('immutable'),
  ];
  for (const fields of unstated)
    assert.equal(lives({ ...fields, etag: '"a"' }).fresh, 0, JSON.stringify(fields));
});

test('what is no number of seconds, or two different ones, is stale (4.2.1, 1.2.2)', () => {
  for (const text of [
    'max-age=1x',
    'max-age',
    'max-age=',
    'max-age=-1',
    'max-age=1e9',
    'max-age=1, max-age=9',
  ]) {
    assert.equal(lives(control(text)).fresh, 0, text);
  }
  assert.equal(lives(control('max-age=5, max-age=5')).fresh, 5);
  assert.equal(lives(control('max-age=99999999999999999999')).fresh, 2 ** 31);
});

test('an Expires that is no date has passed, several are none, and no zone but GMT is meant (5.3)', () => {
  for (const expires of [
    '0',
    '-1',
    'never',
    '2099-01-01',
    `${date(60)}, ${date(90)}`,
    'Thu, 01 Jan 2099 00:00:00 CET',
  ]) {
    assert.equal(lives({ expires, date: date(0), etag: '"a"' }).fresh <= 0, true, expires);
  }
});

test('directives are read in any case and with quoted arguments (5.2)', () => {
  assert.equal(lives(control('Public, MAX-AGE=30')).fresh, 30);
  assert.equal(lives(control('max-age="30"')).fresh, 30);
  assert.equal(lives(control('extension="no-store, private", max-age=30')).fresh, 30);
  assert.equal(lives(control('NO-STORE, max-age=30')).storable, false);
});

test('Age is that of the upstream and the time the answer took (4.2.3, 5.1)', () => {
  assert.deepEqual(lives(control('max-age=30', { age: '10' })), {
    storable: true,
    fresh: 20,
    usable: 20,
    age: 10,
  });
  const slow = { requestedMs: NOW - 4000 };
  assert.equal(lives(control('max-age=30', { age: '10' }), slow).fresh, 16);
  assert.equal(lives(control('max-age=30', { age: '10' }), slow).age, 14);
  assert.equal(lives(control('max-age=30', { age: '10, 3' })).age, 10);
  assert.equal(lives(control('max-age=30', { age: 'old' })).age, 0);
  assert.equal(lives(control('max-age=30', { age: '40', etag: '"a"' })).fresh, -10, 'it came stale');
  assert.equal(lives(control('max-age=30', { date: date(3600) })).fresh, 30, 'a clock that is ahead');
});

test('no-store and private are not kept, no-cache is kept for its validator only (3, 5.2.2)', () => {
  for (const text of ['no-store', 'private', 'private="x-user"', 'max-age=9, no-store']) {
    assert.equal(lives(control(text, { etag: '"a"' })).storable, false, text);
  }
  for (const text of ['no-cache, max-age=30, stale-if-error=99', 'no-cache="set-cookie, x", max-age=30']) {
    const judged = lives(control(text, { etag: '"a"' }));
    assert.deepEqual([judged.storable, judged.fresh, judged.usable], [true, 0, 0], text);
  }
  assert.equal(lives(control('no-cache')).storable, false, 'nothing could ever confirm it');
});

test('stale-if-error lets it be served for so long and no longer (RFC 5861 4)', () => {
  assert.equal(lives(control('max-age=30, stale-if-error=100')).usable, 130);
  assert.equal(lives(control('max-age=30')).usable, 30);
  assert.equal(lives(control('max-age=30, stale-if-error')).usable, 30);
  assert.equal(lives(control('max-age=30, stale-if-error=100', { age: '50' })).usable, 80);
});

test('must-revalidate, proxy-revalidate and s-maxage forbid it stale but not fresh (RFC 9111 4.2.4, 5.2.2.10)', () => {
  for (const strict of ['must-revalidate', 'proxy-revalidate', 's-maxage=30']) {
    const judged = lives(control(`max-age=30, stale-if-error=100, ${strict}`));
    assert.deepEqual([judged.fresh, judged.usable], [30, 30], strict);
  }
});

test('what is signed is neither fresh nor served on errors after its signature ends', () => {
  const bound = lives(control('max-age=30, stale-if-error=1000'), {}, NOW + 100_000);
  assert.deepEqual([bound.fresh, bound.usable], [30, 100]);
  assert.equal(lives(control('max-age=300'), {}, NOW + 100_000).fresh, 100);
  assert.equal(
    lives(control('max-age=300, stale-if-error=9', { etag: '"a"' }), {}, NOW - 1).usable < 0,
    true,
  );
});

test('that something is missing is kept with explicit freshness only (404, 410)', () => {
  for (const status of [404, 410]) {
    assert.equal(lives(control('max-age=60'), { status }).storable, true);
    assert.equal(lives({ etag: '"a"' }, { status }).storable, false);
    assert.equal(lives(control('public'), { status }).storable, false);
  }
  assert.equal(lives(control('max-age=60'), { status: 500 }).storable, false);
  assert.equal(lives(control('max-age=60'), { status: 206 }).storable, false);
});

test('Vary: * is never used again without being confirmed (4.1)', () => {
  const judged = lives(control('max-age=60, stale-if-error=60', { vary: '*', etag: '"a"' }));
  assert.deepEqual([judged.storable, judged.fresh, judged.usable], [true, 0, 0]);
  assert.equal(lives(control('max-age=60', { vary: 'accept, *' })).storable, false);
});

test('a 304 replaces the fields it has, but not those of the body, and brings its own Age (3.2)', () => {
  const stored = {
    'cache-control': 'max-age=1',
    etag: '"a"',
    'content-type': 'application/json',
    age: '500',
    date: date(-500),
  };
  assert.deepEqual(
    refreshed(stored, {
      'cache-control': 'max-age=9',
      expires: '0',
      'content-type': 'text/html',
      date: date(0),
    }),
    {
      'cache-control': 'max-age=9',
      etag: '"a"',
      'content-type': 'application/json',
      expires: '0',
      date: date(0),
    },
  );
  assert.deepEqual(refreshed(stored, {}).age, undefined);
});

test('whatever an upstream says, times are numbers in order', () => {
  const field = fc.string({ unit: 'binary', maxLength: 60 });
  const word = fc.constantFrom(
    'max-age=',
    's-maxage=',
    'stale-if-error=',
    '"',
    ',',
    ' ',
    '=',
    '9',
    'no-cache',
    'x',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        field,
        fc.array(word, { maxLength: 12 }).map(words => words.join('')),
      ),
      fc.oneof(field, fc.constant(date(5))),
      field,
      (cacheControl, expires, age) => {
        const judged = judge({
          status: 200,
          fields: { 'cache-control': cacheControl, expires, age, date: expires },
          requestedMs: NOW,
          receivedMs: NOW,
        });
        assert.ok(Number.isFinite(judged.freshUntilMs) && judged.bornMs <= NOW);
        assert.ok(judged.usableUntilMs >= judged.freshUntilMs);
      },
    ),
  );
});
