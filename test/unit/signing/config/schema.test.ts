import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReleaseConfig } from '../../../../signing/config/schema.ts';
import { allKeyNames, roleKeyNames } from '../../../../signing/release/repository/role-keys.ts';

test('the defaults are those of the design: keys, thresholds and days', () => {
  const config = ReleaseConfig.parse({});
  const days = (seconds: number) => seconds / 86_400;
  const table = (
    ['root', 'targets', 'releases', 'stable', 'canary', 'dev', 'queues', 'snapshot', 'timestamp'] as const
  ).map(role => [
    role,
    roleKeyNames(config)[role].length,
    config[role].threshold,
    days(config[role].expiresSeconds),
  ]);
  assert.deepEqual(table, [
    ['root', 3, 2, 365],
    ['targets', 3, 2, 180],
    ['releases', 4, 1, 90],
    ['stable', 3, 2, 60],
    ['canary', 3, 1, 30],
    ['dev', 3, 1, 14],
    ['queues', 3, 2, 60],
    ['snapshot', 1, 1, 7],
    ['timestamp', 1, 1, 1],
  ]);
});

test("the builder's key is in releases only; managers share stable and queues; thirteen keys in all", () => {
  const names = roleKeyNames(ReleaseConfig.parse({}));
  const withBuilder = Object.entries(names).filter(([, keys]) => keys.includes('builder'));
  assert.deepEqual(
    withBuilder.map(([role]) => role),
    ['releases'],
  );
  assert.deepEqual(names.stable, ['manager-1', 'manager-2', 'manager-3']);
  assert.deepEqual(names.queues, names.stable);
  assert.equal(allKeyNames(ReleaseConfig.parse({})).length, 13);
});

test('a threshold that can never be met, a weak key file and unknown settings are refused', () => {
  for (const wrong of [
    { root: { keys: 1, threshold: 2 } },
    { managers: 1 },
    { releases: { threshold: 5 } },
    { scryptN: 1024 },
    { scryptN: 50_000 },
    { timestamp: { expiresSeconds: 1 } },
    { rooot: {} },
    { root: { treshold: 1 } },
  ]) {
    assert.equal(ReleaseConfig.safeParse(wrong).success, false, JSON.stringify(wrong));
  }
  assert.ok(
    ReleaseConfig.safeParse({ managers: 1, stable: { threshold: 1 }, queues: { threshold: 1 } }).success,
  );
});
