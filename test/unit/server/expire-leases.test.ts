import assert from 'node:assert/strict';
import { expireLeases } from '../../../server/logic/expire-leases.ts';
import { killJob } from '../../../server/logic/kill-job.ts';
import { listSubmissions } from '../../../server/logic/list-submissions.ts';
import { submitJobs } from '../../../server/logic/submit-jobs.ts';
import { newId } from '../../../lib/ids.ts';
import { forEachDatabase } from '../../lab/databases.ts';
import {
  acquire,
  acquireLease,
  alice,
  beat,
  body,
  complete,
  definition,
  enrolBody,
  factory,
  newKey,
  newPilot,
  nextTurn,
  openLab,
  overdue,
  show,
  silent,
  stateOf,
  submit,
  takeSubmissions,
} from './server-lab.ts';
import { enrolPilot } from '../../../server/logic/enrol-pilot.ts';

forEachDatabase((_dialect, databaseTest) => {
  databaseTest('an attempt past its lease is lost: requeued until its tries are used up', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, { maxAttempts: 2 });
    const pilot = await newPilot(lab);
    await overdue(lab, await acquireLease(lab, pilot));
    assert.deepEqual(await expireLeases(lab.context), { attemptsLost: 1 });
    assert.equal(await stateOf(lab, jobId!), 'activated');
    await overdue(lab, await acquireLease(lab, pilot));
    assert.deepEqual(
      await expireLeases(lab.context),
      { attemptsLost: 0 },
      'no second sweep in the same turn',
    );
    await nextTurn(lab);
    await expireLeases(lab.context);
    const { job, attempts } = await show(lab, jobId!);
    assert.deepEqual([job.state, job.cause?.code, job.acceptedAttemptId], ['failed', 'PILOT_LOST', null]);
    assert.deepEqual(
      attempts.map(attempt => attempt.state),
      ['lost', 'lost'],
    );
  });

  databaseTest('heartbeats keep a lease; several servers sweep in turns', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const pilot = await newPilot(lab);
    const lease = await acquireLease(lab, pilot);
    await overdue(lab, lease);
    await beat(lab, pilot, lease);
    await expireLeases(lab.context);
    assert.equal(await stateOf(lab, jobId!), 'running');
    await overdue(lab, lease);
    await nextTurn(lab);
    const sweeps = await Promise.all([1, 2, 3].map(() => expireLeases(lab.context)));
    assert.equal(
      sweeps.reduce((sum, { attemptsLost }) => sum + attemptsLost, 0),
      1,
    );
    assert.equal((await show(lab, jobId!)).attempts.length, 1);
  });

  databaseTest("a database's clock that was put back holds up no sweep", async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    await overdue(lab, await acquireLease(lab, await newPilot(lab)));
    await lab.db
      .updateTable('service')
      .set({ swept_ms: Date.now() + 3_600_000 })
      .execute();
    assert.deepEqual(await expireLeases(lab.context), { attemptsLost: 1 });
    assert.equal(await stateOf(lab, jobId!), 'activated');
  });

  databaseTest('a lost pilot frees its place and its job', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const pilot = await newPilot(lab);
    await acquireLease(lab, pilot);
    await silent(lab, pilot);
    await expireLeases(lab.context);
    assert.equal(await stateOf(lab, jobId!), 'activated');
    await assert.rejects(acquire(lab, pilot), { code: 'E_FENCED' });
    const listed = await listSubmissions(lab.context, factory, 'q1', { factory: 'f1', limit: 5 });
    assert.deepEqual(listed.submissions, [
      {
        submissionId: listed.submissions[0]!.submissionId,
        state: 'ended',
        pilotId: pilot.pilotId,
        jobsDone: 0,
      },
    ]);
  });

  databaseTest(
    'a pilot that cannot be ended keeps no other from it, nor the rest of the sweep',
    async database => {
      const lab = await openLab(database);
      const [broken, healthy] = await submit(lab, {}, {});
      const pilots = [await newPilot(lab), await newPilot(lab)];
      for (const pilot of pilots) {
        await acquireLease(lab, pilot);
        await silent(lab, pilot);
      }
      await lab.db.updateTable('job').set({ state: 'closed' }).where('job_id', '=', broken!).execute();
      await lab.db.updateTable('idempotency').set({ stored_ms: 1 }).execute();
      await expireLeases(lab.context);
      assert.equal(await stateOf(lab, healthy!), 'activated');
      assert.equal((await lab.db.selectFrom('idempotency').selectAll().execute()).length, 0);
    },
  );

  databaseTest('a killed job whose pilot is lost is cancelled, not run again', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const lease = await acquireLease(lab, await newPilot(lab));
    await killJob(lab.context, alice, newId(), jobId!, body('killJob', { reason: 'enough' }));
    await overdue(lab, lease);
    await expireLeases(lab.context);
    const { job } = await show(lab, jobId!);
    assert.deepEqual([job.state, job.cause?.code, job.cause?.text], ['cancelled', 'KILLED', 'enough']);
  });

  databaseTest('submissions nobody enrolled expire, and replies are forgotten', async database => {
    const lab = await openLab(database, { idempotencySeconds: 60 });
    const [submission] = await takeSubmissions(lab, 1);
    await lab.db.updateTable('submission').set({ valid_until_ms: 1 }).execute();
    await assert.rejects(enrolPilot(lab.context, newId(), enrolBody(submission!, newKey())), {
      code: 'E_SUBMISSION_GONE',
    });
    await lab.db.updateTable('idempotency').set({ stored_ms: 1 }).execute();
    const request = body('submit', { jobs: [{ definition: definition() }] });
    await submitJobs(lab.context, alice, 'kept', request);
    await expireLeases(lab.context);
    const rows = await lab.db.selectFrom('submission').select('state').execute();
    assert.deepEqual(
      rows.map(row => row.state),
      ['expired'],
    );
    assert.equal((await lab.db.selectFrom('idempotency').selectAll().execute()).length, 1);
  });

  databaseTest('time in which the service was down does not count against leases', async database => {
    const lab = await openLab(database, { outageSeconds: 60 });
    const [jobId] = await submit(lab, {});
    const pilot = await newPilot(lab);
    const lease = await acquireLease(lab, pilot);
    await expireLeases(lab.context);
    const { alive_ms } = await lab.db.selectFrom('service').select('alive_ms').executeTakeFirstOrThrow();
    const outageMs = 3_600_000;
    await lab.db
      .updateTable('service')
      .set({ alive_ms: alive_ms - outageMs, swept_ms: 0 })
      .execute();
    for (const table of ['attempt', 'pilot'] as const) {
      await lab.db
        .updateTable(table)
        .set({ lease_until_ms: alive_ms - outageMs + 30_000 })
        .execute();
    }
    await expireLeases(lab.context);
    assert.equal(await stateOf(lab, jobId!), 'sent');
    const outages = await lab.db.selectFrom('service_outage').selectAll().execute();
    assert.equal(outages.length, 1);
    assert.ok(outages[0]!.to_ms - outages[0]!.from_ms >= outageMs);
    assert.deepEqual(await complete(lab, pilot, lease), { accepted: true, jobState: 'finished' });
  });
});
