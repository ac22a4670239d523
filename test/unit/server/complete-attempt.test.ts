import assert from 'node:assert/strict';
import { newId } from '../../../lib/ids.ts';
import { expireLeases } from '../../../server/logic/expire-leases.ts';
import { leavePilot } from '../../../server/logic/leave-pilot.ts';
import { showReceipt } from '../../../server/logic/show-receipt.ts';
import { forEachDatabase } from '../../lab/databases.ts';
import {
  acquireLease,
  alice,
  beat,
  body,
  complete,
  newPilot,
  openLab,
  overdue,
  show,
  silent,
  stateOf,
  submit,
} from './server-lab.ts';

const release = { name: 'pilot', version: '1.0.0', sha256: 'a'.repeat(64), metadata: { root: 1 } };
const output = { name: 'out.txt', url: 'file:///tmp/out.txt', sha256: 'b'.repeat(64), bytes: 3 };

forEachDatabase((_dialect, databaseTest) => {
  databaseTest('a result is accepted once and answered the same again', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const pilot = await newPilot(lab);
    const lease = await acquireLease(lab, pilot);
    await beat(lab, pilot, lease, { state: 'starting' });
    await beat(lab, pilot, lease, { tail: { stdout: 'half\0way' }, usage: { wallSeconds: 1 } });
    const receipt = {
      jobId: jobId!,
      attemptId: lease.attemptId,
      definitionSha256: lease.definitionSha256,
      release,
      inputs: [],
      outputs: [output],
      usage: { wallSeconds: 2 },
      outcome: 'finished',
      cause: null,
      containment: 'none' as const,
      node: 'node1',
    };
    const result = { outputs: [output], usage: { wallSeconds: 2 }, release, receipt };
    const first = await complete(lab, pilot, lease, result, 'k1');
    assert.deepEqual(first, { accepted: true, jobState: 'finished' });
    assert.deepEqual(await complete(lab, pilot, lease, result, 'k1'), first);
    assert.deepEqual(await complete(lab, pilot, lease, result, 'k2'), first);
    await assert.rejects(complete(lab, pilot, lease, { usage: { wallSeconds: 3 } }), { code: 'E_JOB_GONE' });
    await assert.rejects(beat(lab, pilot, lease), { code: 'E_JOB_GONE' });
    const { job, attempts, events } = await show(lab, jobId!);
    assert.equal(job.acceptedAttemptId, lease.attemptId);
    assert.deepEqual(attempts[0]!.outputs, [output]);
    assert.deepEqual(attempts[0]!.release, release);
    assert.deepEqual(
      events.map(event => event.to),
      ['defined', 'activated', 'sent', 'starting', 'running', 'finished'],
    );
    assert.deepEqual((await showReceipt(lab.context, alice, lease.attemptId)).receipt, receipt);
  });

  databaseTest("the error's owner decides whether a job is tried again", async database => {
    const lab = await openLab(database);
    const [own, site] = await submit(lab, { priority: 2000 }, { maxAttempts: 2 });
    const pilot = await newPilot(lab);
    const failWith = async (code: string) => {
      const lease = await acquireLease(lab, pilot);
      const cause = { code, text: `because of ${code}` };
      return (await complete(lab, pilot, lease, { outcome: 'failed', cause })).jobState;
    };
    assert.equal(await failWith('PAYLOAD_EXIT'), 'failed');
    assert.equal(await failWith('STAGE_IN_FAILED'), 'activated');
    assert.equal(await failWith('STAGE_IN_FAILED'), 'failed');
    const shown = await show(lab, own!);
    assert.deepEqual(shown.job.cause, {
      code: 'PAYLOAD_EXIT',
      text: 'because of PAYLOAD_EXIT',
      owner: 'payload',
      fix: 'Read its log; the last lines are in the job record.',
    });
    assert.equal((await show(lab, site!)).job.attempts, 2);
  });

  databaseTest('handing back uses up no try, but not for ever', async database => {
    const lab = await openLab(database, { limits: { returns: 3 } });
    const [jobId] = await submit(lab, { maxAttempts: 1 });
    const pilot = await newPilot(lab);
    const handBack = async () =>
      (await complete(lab, pilot, await acquireLease(lab, pilot), { outcome: 'returned' })).jobState;
    assert.deepEqual([await handBack(), await handBack(), await handBack()], Array(3).fill('activated'));
    assert.equal(await handBack(), 'failed');
    assert.equal((await show(lab, jobId!)).job.cause?.code, 'PILOT_TERMINATED');
  });

  databaseTest('a late result is rescued, and its replacement cancelled', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const slow = await newPilot(lab);
    const first = await acquireLease(lab, slow);
    await beat(lab, slow, first);
    await overdue(lab, first);
    await expireLeases(lab.context);
    assert.equal(await stateOf(lab, jobId!), 'activated');
    const other = await newPilot(lab);
    const second = await acquireLease(lab, other);
    assert.deepEqual([second.jobId, second.attemptNumber], [jobId, 2]);
    await beat(lab, other, second);
    await assert.rejects(beat(lab, slow, first), { code: 'E_FENCED' });
    await assert.rejects(complete(lab, slow, first, { outcome: 'failed' }), { code: 'E_FENCED' });
    const late = await complete(lab, slow, first, {});
    assert.deepEqual(late, { accepted: true, jobState: 'finished' });
    await assert.rejects(complete(lab, other, second), { code: 'E_JOB_GONE' });
    await assert.rejects(beat(lab, other, second), { code: 'E_JOB_GONE' });
    const { job, attempts } = await show(lab, jobId!);
    assert.equal(job.acceptedAttemptId, first.attemptId);
    assert.deepEqual(
      attempts.map(attempt => attempt.state),
      ['finished', 'cancelled'],
    );
  });

  databaseTest(
    'a late result is rescued while the job waits, even from a pilot that lost its place',
    async database => {
      const lab = await openLab(database);
      const [jobId] = await submit(lab, {});
      const pilot = await newPilot(lab);
      const lease = await acquireLease(lab, pilot);
      await silent(lab, pilot);
      await overdue(lab, lease);
      await expireLeases(lab.context);
      await assert.rejects(beat(lab, pilot, lease), { code: 'E_FENCED' });
      assert.deepEqual(await complete(lab, pilot, lease), { accepted: true, jobState: 'finished' });
      assert.equal((await show(lab, jobId!)).job.acceptedAttemptId, lease.attemptId);
      assert.equal((await show(lab, jobId!)).job.attempts, 1);
    },
  );

  databaseTest('of two results at once one is accepted', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const slow = await newPilot(lab);
    const first = await acquireLease(lab, slow);
    await overdue(lab, first);
    await expireLeases(lab.context);
    const other = await newPilot(lab);
    const second = await acquireLease(lab, other);
    const results = await Promise.allSettled([
      complete(lab, slow, first),
      complete(lab, other, second),
      complete(lab, slow, first),
    ]);
    const accepted = results.filter(result => result.status === 'fulfilled');
    assert.ok(accepted.length >= 1 && accepted.length <= 2);
    const { job, attempts } = await show(lab, jobId!);
    assert.equal(job.state, 'finished');
    assert.equal(attempts.filter(attempt => attempt.state === 'finished').length, 1);
  });

  databaseTest('attempts belong to their pilot, and its leaving ends them', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, { maxAttempts: 1 });
    const [mine, thief] = [await newPilot(lab), await newPilot(lab)];
    const lease = await acquireLease(lab, mine);
    for (const steal of [beat(lab, thief, lease), complete(lab, thief, lease)]) {
      await assert.rejects(steal, { code: 'E_NOT_FOUND' });
    }
    await assert.rejects(complete(lab, mine, { ...lease, incarnation: 'other' }), { code: 'E_FENCED' });
    await beat(lab, mine, lease, { state: 'transferring' });
    await assert.rejects(beat(lab, mine, lease, { state: 'running' }), {
      code: 'E_ILLEGAL_TRANSITION',
      rule: 'job-transitions',
    });
    await leavePilot(lab.context, mine, newId(), body('leavePilot', { reason: 'SIGTERM', jobsDone: 0 }));
    assert.equal(await stateOf(lab, jobId!), 'activated');
    assert.equal((await show(lab, jobId!)).attempts[0]!.state, 'returned');
  });
});
