import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readConfigureGlobal } from 'fast-check';

test('property tests draw from a known seed, so that a red run can be repeated', () => {
  assert.equal(readConfigureGlobal().seed, Number(process.env.PILOTAGE_TEST_SEED ?? 20_261_122));
});
