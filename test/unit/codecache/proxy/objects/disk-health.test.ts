import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DiskHealth } from '../../../../../codecache/proxy/objects/disk-health.ts';
import { systemClock } from '../../../../../lib/clock.ts';
import { silentLog } from '../../../../../lib/log.ts';

test('a failed disk is left alone, then tried by one at a time until it works', () => {
  let nowMs = 0;
  const health = new DiskHealth({ clock: { ...systemClock, now: () => nowMs }, log: silentLog, where: '/x' });
  assert.ok(health.usable());
  health.failed(Object.assign(new Error(), { code: 'EIO' }));
  assert.ok(health.degraded);
  assert.equal(health.usable(), false);
  nowMs += 15_000;
  assert.ok(health.usable(), 'one tries');
  assert.equal(health.usable(), false, 'the others wait for it');
  health.failed(Object.assign(new Error(), { code: 'EIO' }));
  nowMs += 14_999;
  assert.equal(health.usable(), false);
  nowMs += 1;
  assert.ok(health.usable());
  health.worked();
  assert.ok(health.usable());
  assert.equal(health.degraded, false);
  assert.equal(health.failures, 2);
});
