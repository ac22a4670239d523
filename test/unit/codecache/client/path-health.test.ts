import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PathHealth } from '../../../../codecache/client/path-health.ts';

/** A clock that stands still unless it is moved, and chance that always says the same. */
function still(chance = 0.5) {
  const time = { seconds: 0 };
  const clock = {
    now: () => 0,
    monotonic: () => time.seconds * 1000,
    sleep: () => Promise.reject(new Error('nothing here sleeps')),
  };
  return { time, health: new PathHealth({ clock, random: () => chance }) };
}

const groups = ['http://a/|http://b|http://c', 'http://d', 'http://e'];

test('groups come in order, each begun at a random cache and gone through from there', () => {
  assert.deepEqual(
    still(0).health.order(groups),
    ['a', 'b', 'c', 'd', 'e'].map(name => `http://${name}`),
  );
  assert.deepEqual(
    still(0.99).health.order(groups),
    ['c', 'a', 'b', 'd', 'e'].map(name => `http://${name}`),
  );
  const firsts = new Set(Array.from({ length: 200 }, () => new PathHealth().order(groups)[0]));
  assert.deepEqual(firsts, new Set(['http://a', 'http://b', 'http://c']));
});

test('a cache that failed rests for 2 s, then longer up to 10 s, with a quarter of jitter either way', () => {
  for (const [chance, factor] of [
    [0, 0.75],
    [0.5, 1],
  ] as const) {
    const { health } = still(chance);
    for (const seconds of [2, 4, 8, 10, 10]) {
      health.failed('http://d');
      assert.equal(health.restsMs('http://d'), seconds * factor * 1000);
    }
  }
  const { health, time } = still();
  health.failed('http://d');
  assert.ok(!health.order(groups).includes('http://d'));
  time.seconds = 2;
  assert.ok(health.order(groups).includes('http://d'));
  health.worked('http://d', groups);
  health.failed('http://d');
  assert.equal(health.restsMs('http://d'), 2000, 'what worked begins anew');
});

test('it rests for as long as it asks for, within bounds', () => {
  const { health } = still();
  health.failed('http://a', 42);
  assert.equal(health.restsMs('http://a'), 42_000);
  health.failed('http://b', 1);
  assert.equal(health.restsMs('http://b'), 2000);
  health.failed('http://c', 1e9);
  assert.equal(health.restsMs('http://c'), 300_000);
});

test('a later group that worked is kept to for 300 s, and then the first is tried again', () => {
  const { health, time } = still(0);
  health.worked('http://d', groups);
  assert.deepEqual(
    health.order(groups),
    ['d', 'a', 'b', 'c', 'e'].map(name => `http://${name}`),
  );
  time.seconds = 200;
  health.worked('http://d', groups);
  time.seconds = 299;
  assert.equal(health.order(groups)[0], 'http://d');
  time.seconds = 300;
  assert.equal(health.order(groups)[0], 'http://a');
  health.worked('http://d', groups);
  health.worked('http://b', groups);
  assert.equal(health.order(groups)[0], 'http://a', 'the first group worked again');
});

test('what is not listed is never asked', () => {
  const { health } = still();
  health.worked('http://origin', groups);
  assert.ok(!health.order(groups).includes('http://origin'));
  for (const cache of health.order(groups)) health.failed(cache);
  assert.deepEqual(health.order(groups), []);
});
