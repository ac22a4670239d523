import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RequestGate } from '../../../../../codecache/proxy/upstreams/request-gate.ts';
import { movableClock } from './movable-clock.ts';

test('so many at once, the others in order, no more than the queue holds', async () => {
  const clock = movableClock();
  const gate = new RequestGate({ clock, maxRunning: 2, maxQueued: 2, waitSeconds: 5 });
  assert.deepEqual([gate.enter(), gate.enter()], [true, true]);
  const entered: string[] = [];
  const third = Promise.resolve(gate.enter()).then(found => entered.push(`third ${found}`));
  const fourth = Promise.resolve(gate.enter()).then(found => entered.push(`fourth ${found}`));
  assert.equal(await gate.enter(), false, 'the queue is full');
  assert.deepEqual([gate.running, gate.queued], [2, 2]);
  gate.leave();
  gate.leave();
  await Promise.all([third, fourth]);
  assert.deepEqual(entered, ['third true', 'fourth true']);
  assert.deepEqual([gate.running, gate.queued], [2, 0]);
  gate.leave();
  gate.leave();
  assert.deepEqual([gate.running, gate.queued], [0, 0]);
});

test('who finds no room in time is told, and its place in the queue is free', async () => {
  const clock = movableClock();
  const gate = new RequestGate({ clock, maxRunning: 1, maxQueued: 1, waitSeconds: 5 });
  assert.equal(gate.enter(), true);
  const waiting = gate.enter();
  await clock.advance(5000);
  assert.equal(await waiting, false);
  assert.equal(gate.queued, 0);
  gate.leave();
  assert.deepEqual([gate.running, gate.queued], [0, 0]);
  assert.equal(gate.enter(), true);
});
