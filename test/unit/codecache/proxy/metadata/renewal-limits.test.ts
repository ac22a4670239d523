import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RenewalLimits } from '../../../../../codecache/proxy/metadata/renewal-limits.ts';
import { systemClock } from '../../../../../lib/clock.ts';

function movedByHand() {
  let ms = 1e6;
  const clock = { ...systemClock, monotonic: () => ms };
  return { limits: new RenewalLimits(clock), advance: (seconds: number) => void (ms += seconds * 1000) };
}

test('a name is renewed by force once in three seconds', () => {
  const { limits, advance } = movedByHand();
  assert.deepEqual([limits.force('/a'), limits.force('/a'), limits.force('/b')], [true, false, true]);
  advance(2.9);
  assert.equal(limits.force('/a'), false);
  advance(0.2);
  assert.equal(limits.force('/a'), true);
});

test('all names together are renewed by force at a bounded rate', () => {
  const { limits, advance } = movedByHand();
  const force = (from: number) =>
    Array.from({ length: 1000 }, (_, at) => limits.force(`/${from + at}`)).filter(Boolean).length;
  assert.equal(force(0), 30);
  advance(2);
  assert.equal(force(1000), 10);
  advance(3600);
  assert.equal(force(2000), 30);
});

test('names that nothing names are asked for at a bounded rate; those that are there cost nothing', () => {
  const { limits, advance } = movedByHand();
  const ask = () => Array.from({ length: 1000 }, () => limits.stranger()).filter(Boolean).length;
  assert.equal(ask(), 200);
  limits.found();
  assert.equal(ask(), 1);
  advance(1);
  assert.equal(ask(), 20);
});
