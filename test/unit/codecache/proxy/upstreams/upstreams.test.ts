import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { UpstreamPool } from '../../../../../codecache/proxy/upstreams/upstream-pool.ts';
import { Upstreams } from '../../../../../codecache/proxy/upstreams/upstreams.ts';
import type { Preference } from '../../../../../codecache/proxy/upstreams/upstreams.ts';
import { silentLog } from '../../../../../lib/log.ts';
import { movableClock } from './movable-clock.ts';

const timeouts = { connectSeconds: 1, headerSeconds: 1, stallSeconds: 1, totalSeconds: 1 };

function viewOf(t: TestContext, groups: string[], { random = 0, siblings = [] as string[] } = {}) {
  const clock = movableClock();
  const pool = new UpstreamPool({ clock, log: silentLog, timeouts, random: () => 0.5 });
  t.after(() => pool.close());
  const upstreams = new Upstreams({ groups, siblings, pool, random: () => random });
  const order = (preference?: Preference) => [...upstreams.order(preference)].map(({ url }) => url.slice(7));
  const fail = (name: string) => {
    const { health } = pool.upstream(`http://${name}`);
    health.failed(health.begin()!);
  };
  const blame = (name: string) => pool.upstream(`http://${name}`).blame('targets/x', 'this', 'that');
  return { clock, pool, upstreams, order, fail, blame };
}

test('groups in order, each begun at a random member', t => {
  const groups = ['http://a|http://b/|http://c', 'http://d'];
  assert.deepEqual(viewOf(t, groups).order(), ['a', 'b', 'c', 'd']);
  assert.deepEqual(viewOf(t, groups, { random: 0.5 }).order(), ['b', 'c', 'a', 'd']);
  assert.deepEqual(viewOf(t, groups, { random: 0.99 }).order(), ['c', 'a', 'b', 'd']);
});

test('who rests comes after all others, who is distrusted after those, who is to be avoided last', async t => {
  const { clock, order, fail, blame } = viewOf(t, ['http://a', 'http://b', 'http://c', 'http://d']);
  fail('a');
  assert.deepEqual(order(), ['b', 'c', 'd', 'a']);
  blame('b');
  assert.deepEqual(order(), ['c', 'd', 'a', 'b']);
  assert.deepEqual(order({ avoid: 'http://c' }), ['d', 'a', 'b', 'c']);
  assert.deepEqual(order({ lastResort: false }), ['c', 'd', 'b']);
  await clock.advance(2000);
  assert.deepEqual(order(), ['a', 'c', 'd', 'b'], 'back to the first group');
  await clock.advance(58_000);
  assert.deepEqual(order(), ['a', 'b', 'c', 'd']);
});

test('the preferred one is asked first while it is well', t => {
  const { order, fail } = viewOf(t, ['http://a', 'http://b']);
  assert.deepEqual(order({ prefer: 'http://b' }), ['b', 'a']);
  fail('b');
  assert.deepEqual(order({ prefer: 'http://b' }), ['a', 'b']);
  fail('a');
  assert.deepEqual(order({ prefer: 'http://b' }), ['b', 'a']);
});

test('what is learnt while others are asked counts', t => {
  const { upstreams, fail } = viewOf(t, ['http://a', 'http://b', 'http://c']);
  const order = upstreams.order();
  assert.equal(order.next().value!.url, 'http://a');
  fail('b');
  assert.deepEqual(
    [...order].map(({ url }) => url),
    ['http://c', 'http://b'],
  );
});

test('siblings are asked for objects only, while they are well and trusted', t => {
  const siblings = ['http://s', 'http://t'];
  const { pool, order } = viewOf(t, ['http://a'], { siblings });
  assert.deepEqual(order(), ['a']);
  assert.deepEqual(order({ object: 'f00' }).toSorted(), ['a', 's', 't']);
  assert.equal(order({ object: 'f00' }).at(-1), 'a');
  const { health } = pool.upstream('http://s', 'sibling');
  health.failed(health.begin()!);
  pool.upstream('http://t', 'sibling').blame('targets/x', 'this', 'that');
  assert.deepEqual(order({ object: 'f00' }), ['a']);
});

test('views share what is known of an upstream, however its URL is spelt', t => {
  const { pool, fail } = viewOf(t, ['http://Example.org:80/']);
  const other = new Upstreams({ groups: ['http://example.org', 'http://b'], pool });
  fail('example.org');
  assert.deepEqual(
    [...other.order()].map(({ url }) => url),
    ['http://b', 'http://Example.org:80'],
  );
  assert.equal(pool.stats().length, 2);
});
