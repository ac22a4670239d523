import assert from 'node:assert/strict';
import { newId } from '../../../lib/ids.ts';
import type { ReleaseRef } from '../../../lib/protocol/release.ts';
import { demand } from '../../../server/logic/demand.ts';
import { enrolPilot } from '../../../server/logic/enrol-pilot.ts';
import { expireLeases } from '../../../server/logic/expire-leases.ts';
import { killJob } from '../../../server/logic/kill-job.ts';
import { leavePilot } from '../../../server/logic/leave-pilot.ts';
import { noFloors } from '../../../server/logic/release-floors.ts';
import type { Verdict } from '../../../server/logic/release-state.ts';
import { runningReleases } from '../../../server/logic/running-releases.ts';
import type { PilotCaller } from '../../../server/policy/caller.ts';
import { forEachDatabase } from '../../lab/databases.ts';
import {
  acquire,
  acquireLease,
  alice,
  beat,
  body,
  complete,
  enrolBody,
  factory,
  member,
  newKey,
  newPilot,
  nextTurn,
  openLab,
  overdue,
  show,
  stateOf,
  shifter,
  submit,
  takeSubmissions,
} from './server-lab.ts';
import type { Lab } from './server-lab.ts';

const release = (version: string): ReleaseRef => ({
  name: 'pilotage-pilot',
  version,
  sha256: 'a'.repeat(64),
  channel: 'stable',
  channelSerial: 1,
  metadata: { root: 1 },
});

/** Makes the server know these verdicts. */
function say(lab: Lab, verdicts: Record<string, Verdict>): void {
  lab.context.releases = {
    ...noFloors,
    judge: version => verdicts[version] ?? 'good',
    killed: () => Object.keys(verdicts).filter(version => verdicts[version] === 'killed'),
  };
}

async function pilotOf(lab: Lab, version: string): Promise<PilotCaller & { submissionId: string }> {
  const [submission] = await takeSubmissions(lab, 1);
  const enrolment = enrolBody(submission!, newKey(), { release: release(version) });
  const { pilotId } = await enrolPilot(lab.context, newId(), enrolment);
  return { kind: 'pilot', name: `pilot ${pilotId}`, pilotId, submissionId: submission!.submissionId };
}

const remove = async (lab: Lab) =>
  (await demand(lab.context, factory, 'q1')).remove.map(({ submissionId }) => submissionId);

forEachDatabase((_dialect, databaseTest) => {
  databaseTest('a withdrawn release gets no job, whatever the pilot says of itself', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const old = await pilotOf(lab, '1.0.0');
    const fresh = await pilotOf(lab, '2.0.0');
    say(lab, { '1.0.0': 'withdrawn' });
    for (const named of [release('1.0.0'), release('2.0.0'), null]) {
      const { lease, drain, drainBecause } = await acquire(lab, old, { release: named });
      assert.deepEqual(
        [lease, drain, drainBecause],
        [null, true, 'release-revoked'],
        named?.version ?? 'none',
      );
    }
    const { drainBecause } = await acquire(lab, fresh, { release: release('1.0.0') });
    assert.equal(drainBecause, 'release-revoked');
    assert.equal(await stateOf(lab, jobId!), 'activated');
    const { lease } = await acquire(lab, fresh, { release: release('2.0.0') });
    assert.equal(lease?.jobId, jobId);
  });

  databaseTest('a withdrawn release cannot enrol; its submission stays good for another', async database => {
    const lab = await openLab(database);
    say(lab, { '1.0.0': 'withdrawn' });
    const [submission] = await takeSubmissions(lab, 1);
    const key = newKey();
    const enrol = (version: string) =>
      enrolPilot(lab.context, newId(), enrolBody(submission!, key, { release: release(version) }));
    await assert.rejects(enrol('1.0.0'), { code: 'E_RELEASE_REVOKED', rule: 'revoked-releases-get-no-jobs' });
    const wrong = enrolBody({ ...submission!, secret: 'guessed' }, key, { release: release('1.0.0') });
    await assert.rejects(enrolPilot(lab.context, newId(), wrong), { code: 'E_SECRET_INVALID' });
    const { pilotId } = await enrol('2.0.0');
    say(lab, { '2.0.0': 'withdrawn' });
    await assert.rejects(enrol('2.0.0'), { code: 'E_RELEASE_REVOKED' }, pilotId);
  });

  databaseTest(
    'a killed release is told once to end its payload, and the job loses no try',
    async database => {
      const lab = await openLab(database);
      const [jobId] = await submit(lab, { maxAttempts: 1 });
      const old = await pilotOf(lab, '1.0.0');
      const lease = await acquireLease(lab, old);
      assert.deepEqual((await beat(lab, old, lease)).commands, []);
      say(lab, { '1.0.0': 'withdrawn' });
      assert.deepEqual((await beat(lab, old, lease)).commands, [], 'a withdrawn one finishes its payload');
      say(lab, { '1.0.0': 'killed' });
      const [command, ...more] = (await beat(lab, old, lease)).commands;
      assert.deepEqual(more, []);
      assert.deepEqual([command!.verb, command!.because], ['kill', 'release-revoked']);
      assert.match(command!.reason, /1\.0\.0 was revoked/);
      assert.deepEqual((await beat(lab, old, lease)).commands, [command]);
      const acknowledged = [command!.id];
      assert.deepEqual((await beat(lab, old, lease, { acknowledged })).commands, []);
      assert.deepEqual((await beat(lab, old, lease)).commands, [], 'told once');
      // What a pilot reports that knows only of kills by the owner.
      const cause = { code: 'KILLED', text: command!.reason };
      await complete(lab, old, lease, { outcome: 'cancelled', cause });
      const { job, attempts } = await show(lab, jobId!);
      assert.deepEqual([job.state, attempts[0]!.state], ['activated', 'failed']);
      assert.equal(attempts[0]!.cause?.code, 'RELEASE_REVOKED');
      const next = await pilotOf(lab, '2.0.0');
      const again = await acquireLease(lab, next);
      await complete(lab, next, again);
      assert.equal(await stateOf(lab, jobId!), 'finished');
    },
  );

  databaseTest('what a pilot said when it took the job counts too, and the worst counts', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const pilot = await pilotOf(lab, '1.0.0');
    const { lease } = await acquire(lab, pilot, { release: release('2.0.0') });
    say(lab, { '1.0.0': 'withdrawn', '2.0.0': 'killed' });
    const [command] = (await beat(lab, pilot, lease!)).commands;
    assert.deepEqual([command?.verb, command?.because], ['kill', 'release-revoked']);
    assert.match(command!.reason, /2\.0\.0 was revoked/);
    const cause = { code: 'RELEASE_REVOKED', text: '' };
    await complete(lab, pilot, lease!, { outcome: 'failed', cause });
    await assert.rejects(complete(lab, pilot, lease!, { outcome: 'finished' }), { code: 'E_FENCED' });
    const next = await pilotOf(lab, '3.0.0');
    await complete(lab, next, await acquireLease(lab, next));
    await assert.rejects(complete(lab, pilot, lease!, { outcome: 'finished' }), { code: 'E_JOB_GONE' });
    assert.equal((await show(lab, jobId!)).attempts.filter(({ state }) => state === 'finished').length, 1);
  });

  databaseTest(
    'a pilot of a killed release that had to be ended by force costs its job no try',
    async database => {
      const lab = await openLab(database);
      const [jobId] = await submit(lab, { maxAttempts: 1 });
      const pilot = await pilotOf(lab, '1.0.0');
      const lease = await acquireLease(lab, pilot);
      say(lab, { '1.0.0': 'killed' });
      await beat(lab, pilot, lease);
      await overdue(lab, lease);
      await nextTurn(lab);
      assert.deepEqual(await expireLeases(lab.context), { attemptsLost: 1 });
      const { job, attempts } = await show(lab, jobId!);
      assert.deepEqual([job.state, attempts[0]!.state], ['activated', 'lost']);
      assert.equal(attempts[0]!.cause?.code, 'RELEASE_REVOKED');
    },
  );

  databaseTest("the owner's kill stays a kill, also of a killed release", async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const old = await pilotOf(lab, '1.0.0');
    const lease = await acquireLease(lab, old);
    say(lab, { '1.0.0': 'killed' });
    await beat(lab, old, lease);
    await killJob(lab.context, alice, newId(), jobId!, body('killJob', { reason: 'mine' }));
    await complete(lab, old, lease, { outcome: 'cancelled', cause: { code: 'KILLED', text: '' } });
    const { job, attempts } = await show(lab, jobId!);
    assert.deepEqual([job.state, job.cause?.code], ['cancelled', 'KILLED']);
    assert.deepEqual([attempts[0]!.state, attempts[0]!.cause?.code], ['cancelled', 'KILLED']);
  });

  databaseTest('demand names the pilots of a killed release, and no others', async database => {
    const lab = await openLab(database);
    const pilots = [await pilotOf(lab, '1.0_0'), await pilotOf(lab, '1.0x0'), await pilotOf(lab, '1.0_0')];
    const [first, , third] = pilots;
    assert.deepEqual(await remove(lab), []);
    say(lab, { '1.0_0': 'withdrawn' });
    assert.deepEqual(await remove(lab), [], 'a withdrawn one leaves by itself');
    say(lab, { '1.0_0': 'killed' });
    assert.deepEqual(await remove(lab), [third!.submissionId, first!.submissionId]);
    await leavePilot(lab.context, third!, newId(), body('leavePilot', { reason: 'idle', jobsDone: 0 }));
    assert.deepEqual(
      await remove(lab),
      [first!.submissionId, third!.submissionId],
      'also one that says it left: those that hold a place come first',
    );
    await lab.db.updateTable('pilot').set({ ended_ms: 1 }).where('state', '=', 'left').execute();
    assert.deepEqual(await remove(lab), [first!.submissionId]);
    const asManyAsPointersHold = Array.from({ length: 3000 }, (_, index) => `0.0.${index}`);
    say(lab, Object.fromEntries([...asManyAsPointersHold, '1.0_0'].map(version => [version, 'killed'])));
    assert.deepEqual(await remove(lab), [first!.submissionId]);
  });

  databaseTest('who runs what now is told to the members of a VO, of their queues only', async database => {
    const queue = (name: string, vo: string) => ({
      name,
      vo,
      maxPilots: 10,
      allowContainment: ['none' as const],
    });
    const lab = await openLab(database, { queues: [queue('q1', 'physics'), queue('q2', 'biology')] });
    await pilotOf(lab, '1.0.0');
    const left = await pilotOf(lab, '2.0.0');
    await pilotOf(lab, '2.0.0');
    const [submission] = await takeSubmissions(lab, 1);
    const older = { ...release('2.0.0'), metadata: { root: 1, timestamp: 7 } };
    await enrolPilot(lab.context, newId(), enrolBody(submission!, newKey(), { release: older }));
    await newPilot(lab);
    await leavePilot(lab.context, left, newId(), body('leavePilot', { reason: 'idle', jobsDone: 0 }));
    say(lab, { '1.0.0': 'withdrawn' });
    const { releases } = await runningReleases(lab.context, shifter);
    const row = (version: string | null, pilots: number, standing = 'good') => {
      const channel = version === null ? null : 'stable';
      return { queue: 'q1', version, channel, pilots, standing };
    };
    const [most, ...others] = releases;
    assert.deepEqual(most, row('2.0.0', 2));
    const byVersion = (a: { version: string | null }) => (a.version === null ? 1 : -1);
    assert.deepEqual(others.toSorted(byVersion), [row('1.0.0', 1, 'withdrawn'), row(null, 1)]);
    const biologist = member('biologist', ['submitter'], ['biology']);
    assert.deepEqual(await runningReleases(lab.context, biologist), { releases: [] });
  });
});
