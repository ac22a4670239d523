import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { originKey, readTarget } from '../../../../../codecache/proxy/front/request-target.ts';

const allowed = new Set(
  ['http://store.test:8090', 'http://plain.test', 'https://safe.test/base/', 'http://[2001:db8::1]:81'].map(
    originKey,
  ),
);
const self = { localAddress: '10.0.0.1', localPort: 8091 };
const path = '/metadata/timestamp.json';

function read(target: string, at: typeof self = self): string {
  const asked = readTarget(target, allowed, at);
  return asked.kind === 'refused' ? String(asked.status) : `${asked.view} ${asked.name.path}`;
}

test('origin form asks all upstreams, absolute form the one that it names', () => {
  const name = path.slice(1);
  assert.equal(read(path), ` ${name}`);
  for (const [target, view] of [
    [`http://store.test:8090${path}`, 'http://store.test:8090'],
    [`HTTP://STORE.Test:08090${path}`, 'http://store.test:8090'],
    [`http://plain.test${path}`, 'http://plain.test'],
    [`http://plain.test:80${path}`, 'http://plain.test'],
    [`http://plain.test:${path}`, 'http://plain.test'],
    [`https://safe.test:443/base${path}`, 'https://safe.test/base'],
    [`http://[2001:DB8:0::1]:81${path}`, 'http://[2001:db8::1]:81'],
  ] as const)
    assert.equal(read(target), `${view} ${name}`, target);
});

test('its own address in absolute form means this cache, however it is written', () => {
  assert.equal(read(`http://10.0.0.1:8091${path}`), ` ${path.slice(1)}`);
  assert.equal(read(`http://10.0.0.1:8092${path}`), '403');
  assert.equal(
    read(`http://10.0.0.1${path}`, { localAddress: '10.0.0.1', localPort: 80 }),
    ` ${path.slice(1)}`,
  );
  const v6 = { localAddress: '::1', localPort: 8091 };
  assert.equal(read(`http://[0:0:0:0:0:0:0:1]:8091${path}`, v6), ` ${path.slice(1)}`);
  const both = { localAddress: '::ffff:10.0.0.1', localPort: 8091 };
  assert.equal(read(`http://10.0.0.1:8091${path}`, both), ` ${path.slice(1)}`);
});

test('it is no open proxy', () => {
  for (const [target, status] of [
    [`http://elsewhere.test${path}`, '403'],
    [`https://plain.test${path}`, '403'],
    [`http://store.test${path}`, '403'],
    [`http://store.test:80900${path}`, '400'],
    [`http://store.test.elsewhere.test:8090${path}`, '403'],
    [`http://store.test:8090.elsewhere.test${path}`, '400'],
    [`http://plain.test@elsewhere.test${path}`, '400'],
    [`http://elsewhere.test@plain.test${path}`, '400'],
    [`http://elsewhere.test\\@plain.test${path}`, '400'],
    [`http://elsewhere.test#plain.test${path}`, '400'],
    [`http://elsewhere.test?plain.test${path}`, '400'],
    [`ftp://plain.test${path}`, '400'],
    [`http://${path}`, '400'],
    ['plain.test:80', '400'],
    ['*', '400'],
    ['', '400'],
    ['http://plain.test', '404'],
    [`https://safe.test${path}`, '403'],
    [`https://safe.test/base/..${path}`, '404'],
    [`http://plain.test${path}?a`, '404'],
    [`http://plain.test${path}#a`, '404'],
    [`//elsewhere.test${path}`, '404'],
    ['/metadata/../secret', '404'],
    ['/metadata/%2e%2e/secret', '404'],
    ['/metadata/%00', '404'],
    ['/metadata/%zz', '404'],
  ] as const)
    assert.equal(read(target), status, target);
});

test('whatever a target is, only a view that is there and a path below the two directories come of it', () => {
  const piece = fc.constantFrom(
    'http://',
    'plain.test',
    '/',
    '@',
    '#',
    '?',
    '..',
    '%2e',
    '%2F',
    ':',
    '\\',
    'metadata',
    'x',
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(piece, fc.string({ maxLength: 3 })), { maxLength: 10 }), pieces => {
      const asked = readTarget(pieces.join(''), allowed, self);
      if (asked.kind === 'refused') return;
      assert.ok(asked.view === '' || allowed.has(asked.view));
      assert.match(asked.name.path, /^(metadata|targets)\/[A-Za-z0-9_+-]/);
      assert.doesNotMatch(asked.name.path, /(^|\/)\./);
    }),
  );
});
