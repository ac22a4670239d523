import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../lib/clock.ts';

test('a sleep of thirty days does not end at once, and can be ended', async () => {
  const abort = new AbortController();
  let ended = false;
  const sleep = systemClock.sleep(30 * 86_400_000, abort.signal).then(() => (ended = true));
  await systemClock.sleep(50);
  assert.equal(ended, false, 'a timer of Node takes no more than 2^31 - 1 ms');
  abort.abort(new Error('enough'));
  await assert.rejects(sleep, /enough/);
});
