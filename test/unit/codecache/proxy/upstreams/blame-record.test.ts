import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlameRecord } from '../../../../../codecache/proxy/upstreams/blame-record.ts';
import { movableClock } from './movable-clock.ts';

test('distrust lasts a minute, twice as long for a relapse, never over an hour, and is forgotten', async () => {
  const clock = movableClock();
  const record = new BlameRecord(clock);
  const lasts = async () => {
    record.add('targets/x', 'a', 'b');
    record.add('targets/y', 'a', 'b');
    let minutes = 0;
    for (; !record.trusted; minutes += 1) await clock.advance(60_000);
    return minutes;
  };
  assert.equal(record.trusted, true);
  const minutes: number[] = [];
  for (let i = 0; i < 8; i += 1) minutes.push(await lasts());
  assert.deepEqual(minutes, [1, 2, 4, 8, 16, 32, 60, 60]);
  await clock.advance(3_600_000);
  assert.equal(await lasts(), 1);
});

test('the last 16 are kept, all are counted', () => {
  const record = new BlameRecord(movableClock());
  for (let i = 0; i < 20; i += 1) record.add(`targets/${i}`, 'a', 'b');
  assert.equal(record.times, 20);
  assert.equal(record.last.length, 16);
  assert.deepEqual(record.last.at(-1), { object: 'targets/19', expected: 'a', found: 'b', atMs: 1_000_000 });
});
