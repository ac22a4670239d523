import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { requestOf, urlOf } from '../../../../codecache/client/way.ts';
import { CacheGroup } from '../../../../lib/protocol/release.ts';

const isGroup = (group: string) => CacheGroup.safeParse(group).success;

test('a request to a cache is in origin-form, one through a forward proxy goes there and names the whole URL', () => {
  const path = 'metadata/timestamp.json';
  assert.deepEqual(requestOf(urlOf({ cache: 'http://store:8090/pilots/' }, path)), {
    origin: 'http://store:8090',
    path: '/pilots/metadata/timestamp.json',
    headers: { host: 'store:8090' },
  });
  assert.deepEqual(requestOf(urlOf({ cache: 'http://squid:3128>http://store/' }, path)), {
    origin: 'http://squid:3128',
    path: 'http://store/metadata/timestamp.json',
    headers: { host: 'store' },
  });
  assert.equal(
    urlOf({ cache: 'http://squid:3128>http://store' }, path),
    'http://squid:3128>http://store/metadata/timestamp.json',
    'who is blamed is the whole way',
  );
});

test('a way has one forward proxy at most, without a path or a user, and a store that it can read', () => {
  for (const good of [
    'http://store:8090',
    'https://store/pilots/',
    'http://squid:3128>http://store:8090',
    'http://[2001:db8::1]:3128>http://[2001:db8::2]/pilots',
    'http://s1:3128>http://store|http://s2:3128>http://store|http://store',
  ]) {
    assert.ok(isGroup(good), good);
  }
  for (const bad of [
    'http://squid:3128>',
    '>http://store',
    'http://squid:3128>https://store',
    'https://squid:3128>http://store',
    'http://squid:3128/>http://store',
    'http://user:secret@squid:3128>http://store',
    'http://squid:3128?a>http://store',
    'http://a>http://b>http://c',
    'squid:3128>http://store',
    'http://squid:3128|>http://store',
    'http://squid:3128 >http://store',
    'http://squid:99999>http://store',
    'http://>http://store',
  ]) {
    assert.ok(!isGroup(bad), bad);
  }
});

test('whatever stands as a way, its request goes to the first of its hosts only', () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}[a-z]$/);
  const port = fc.integer({ min: 1, max: 65_535 }).filter(number => number !== 80);
  fc.assert(
    fc.property(name, port, name, port, (squid, squidPort, store, storePort) => {
      const cache = `http://${squid}:${squidPort}>http://${store}:${storePort}`;
      assert.ok(isGroup(cache));
      const { origin, path, headers } = requestOf(urlOf({ cache }, 'targets/a/b'));
      assert.equal(origin, `http://${squid}:${squidPort}`);
      assert.equal(path, `http://${store}:${storePort}/targets/a/b`);
      assert.equal(headers.host, `${store}:${storePort}`);
    }),
  );
});
