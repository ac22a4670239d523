import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turns } from '../../../../lib/database/dialects/sqlite/turns.ts';

test('turns are given one at a time, in order', async () => {
  const turns = new Turns();
  const order: number[] = [];
  let inside = 0;
  await Promise.all(
    Array.from({ length: 20 }, async (_, n) => {
      await turns.take(1000);
      inside += 1;
      assert.equal(inside, 1);
      await new Promise(setImmediate);
      order.push(n);
      inside -= 1;
      turns.give();
    }),
  );
  assert.deepEqual(
    order,
    Array.from({ length: 20 }, (_, n) => n),
  );
});

test('whoever gave up waiting gets no turn later', async () => {
  const turns = new Turns();
  await turns.take();
  const patient = turns.take();
  await assert.rejects(turns.take(10), /no free connection within 10 ms/);
  const last = turns.take(5000);
  turns.give();
  await patient;
  turns.give();
  await last;
  turns.give();
  await turns.take(0);
});
