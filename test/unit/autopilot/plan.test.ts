import { test } from 'node:test';
import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { plan } from '../../../autopilot/plan.ts';
import { backoffSeconds } from '../../../autopilot/plan/failure-backoff.ts';
import type { PlanPolicy, PlanSnapshot } from '../../../autopilot/plan/step.ts';

const policy: PlanPolicy = {
  maxPilots: 10,
  maxPerCycle: 5,
  pilotsPerJob: 1,
  maxAgeSeconds: 60,
  emptyMinimum: 4,
  failureThreshold: 3,
  backoffSeconds: 30,
  maxBackoffSeconds: 3600,
};

const quiet: PlanSnapshot = {
  demand: {
    ageSeconds: 1,
    activated: 8,
    cap: 10,
    submissionsOpen: 0,
    pilotsIdle: 0,
    pilotsBusy: 0,
  },
  engine: { ageSeconds: 1, complete: true },
  own: { notEnded: 0, waiting: 0, expected: 0, missing: 0, unresolved: 0 },
  recent: {
    ended: 0,
    empty: 0,
    failedPilots: 0,
    failedBatches: 0,
    lastFailedAgoSeconds: 0,
    rejections: 0,
    lastRejectedAgoSeconds: 0,
  },
};

const count = fc.nat({ max: 500 });
const snapshots = fc.record({
  demand: fc.record({
    ageSeconds: fc.nat({ max: 60 }),
    activated: count,
    cap: count,
    submissionsOpen: count,
    pilotsIdle: count,
    pilotsBusy: count,
  }),
  engine: fc.constant({ ageSeconds: 0, complete: true }),
  own: fc.record({
    notEnded: count,
    waiting: count,
    expected: fc.nat({ max: 5 }),
    missing: fc.constant(0),
    unresolved: fc.constant(0),
  }),
  recent: fc.record({
    ended: count,
    empty: count,
    failedPilots: fc.nat({ max: 5 }),
    failedBatches: fc.nat({ max: 50 }),
    lastFailedAgoSeconds: fc.integer({ min: -10, max: 5000 }),
    rejections: fc.nat({ max: 3 }),
    lastRejectedAgoSeconds: fc.integer({ min: -10, max: 5000 }),
  }),
});
const policies = fc.record({
  maxPilots: count,
  maxPerCycle: fc.nat({ max: 50 }),
  pilotsPerJob: fc.double({ min: 0.01, max: 4, noNaN: true }),
  maxAgeSeconds: fc.constant(60),
  emptyMinimum: fc.integer({ min: 1, max: 20 }),
  failureThreshold: fc.integer({ min: 1, max: 6 }),
  backoffSeconds: fc.integer({ min: 1, max: 100 }),
  maxBackoffSeconds: fc.integer({ min: 1, max: 4000 }),
});

test('submits what is wanted when nothing stands against it', () => {
  assert.equal(plan(quiet, { ...policy, maxPerCycle: 100 }).submit, 8);
  assert.equal(plan(quiet, policy).submit, 5);
});

test('property: a whole number, never negative, never above a cap or the ramp', () => {
  fc.assert(
    fc.property(snapshots, policies, (snapshot, policy) => {
      const { submit } = plan(snapshot, policy);
      assert.ok(Number.isSafeInteger(submit) && submit >= 0);
      if (submit === 0) return;
      const { pilotsIdle, pilotsBusy, submissionsOpen } = snapshot.demand;
      const atServer = pilotsIdle + pilotsBusy + submissionsOpen;
      assert.ok(submit + snapshot.own.notEnded <= policy.maxPilots);
      assert.ok(submit + snapshot.own.notEnded <= snapshot.demand.cap);
      assert.ok(submit + atServer <= snapshot.demand.cap);
      assert.ok(submit <= policy.maxPerCycle);
    }),
    { numRuns: 500 },
  );
});

test('property: more jobs never mean fewer pilots, and more pilots on their way never mean more', () => {
  fc.assert(
    fc.property(snapshots, policies, count, (snapshot, policy, extra) => {
      const before = plan(snapshot, policy).submit;
      const { demand } = snapshot;
      const busier = { ...snapshot, demand: { ...demand, activated: demand.activated + extra } };
      assert.ok(plan(busier, policy).submit >= before);
      const served = { ...snapshot, demand: { ...demand, submissionsOpen: demand.submissionsOpen + extra } };
      assert.ok(plan(served, policy).submit <= before);
    }),
    { numRuns: 500 },
  );
});

test('property: 0 and the reason named when anything is stale, missing or unresolved', () => {
  const breakages: ((snapshot: PlanSnapshot) => PlanSnapshot)[] = [
    snapshot => ({ ...snapshot, demand: null }),
    snapshot => ({ ...snapshot, demand: { ...snapshot.demand!, ageSeconds: 61 } }),
    snapshot => ({ ...snapshot, demand: { ...snapshot.demand!, ageSeconds: -1 } }),
    snapshot => ({ ...snapshot, demand: { ...snapshot.demand!, activated: Number.NaN } }),
    snapshot => ({ ...snapshot, engine: null }),
    snapshot => ({ ...snapshot, engine: { ageSeconds: 0, complete: false } }),
    snapshot => ({ ...snapshot, engine: { ageSeconds: Number.NaN, complete: true } }),
    snapshot => ({ ...snapshot, own: { ...snapshot.own, unresolved: 1 } }),
    snapshot => ({ ...snapshot, own: { ...snapshot.own, expected: 4, missing: 3 } }),
  ];
  fc.assert(
    fc.property(snapshots, fc.constantFrom(...breakages), (snapshot, breakIt) => {
      const { submit, reasons } = plan(breakIt(snapshot), policy);
      assert.equal(submit, 0);
      assert.equal(reasons[0]?.step, 'freshness');
      assert.notEqual(reasons[0]?.why, '');
    }),
  );
});

test('every step leaves what came in, what went out and why, and only lowers', () => {
  const { reasons } = plan(quiet, policy);
  assert.deepEqual(
    reasons.map(reason => reason.step),
    ['demand', 'cap', 'ramp', 'empty pilots', 'failed pilots', 'rejected submissions'],
  );
  reasons.forEach((reason, index) => {
    assert.equal(reason.in, index === 0 ? 8 : reasons[index - 1]!.out);
    assert.ok(reason.out <= reason.in);
    assert.notEqual(reason.why, '');
  });
});

test('pilots that are idle or on their way are not asked for again', () => {
  const demand = { ...quiet.demand!, pilotsIdle: 2, submissionsOpen: 3 };
  assert.equal(plan({ ...quiet, demand }, policy).submit, 3);
  const own = { ...quiet.own, waiting: 5, notEnded: 5 };
  assert.equal(plan({ ...quiet, demand, own }, policy).submit, 1);
});

test('empty pilots damp, but one is still sent', () => {
  const recent = { ...quiet.recent, ended: 4, empty: 2 };
  assert.equal(plan({ ...quiet, recent }, policy).submit, 3);
  assert.equal(plan({ ...quiet, recent: { ...recent, empty: 4 } }, policy).submit, 1);
});

test('failures in a row stop submission, then let one probe through, then none while it is on its way', () => {
  const recent = { ...quiet.recent, failedPilots: 3, failedBatches: 2, lastFailedAgoSeconds: 59 };
  assert.equal(plan({ ...quiet, recent }, policy).submit, 0);
  const later = { ...recent, lastFailedAgoSeconds: 61 };
  assert.equal(plan({ ...quiet, recent: later }, policy).submit, 1);
  const own = { ...quiet.own, waiting: 1, notEnded: 1 };
  assert.equal(plan({ ...quiet, recent: later, own }, policy).submit, 0);
});

test('rejections by the batch system back off too', () => {
  const recent = { ...quiet.recent, rejections: 1, lastRejectedAgoSeconds: 0 };
  assert.equal(plan({ ...quiet, recent }, policy).submit, 0);
  assert.equal(plan({ ...quiet, recent: { ...recent, lastRejectedAgoSeconds: 30 } }, policy).submit, 1);
  assert.equal(backoffSeconds(1000, policy), 3600);
});
