import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { sql } from 'kysely';
import { newId } from '../../../lib/ids.ts';
import { createSubmissions } from '../../../server/logic/create-submissions.ts';
import { demand } from '../../../server/logic/demand.ts';
import { enrolPilot } from '../../../server/logic/enrol-pilot.ts';
import { leavePilot } from '../../../server/logic/leave-pilot.ts';
import { listSubmissions } from '../../../server/logic/list-submissions.ts';
import { renewPilot } from '../../../server/logic/renew-pilot.ts';
import { withdrawSubmissions } from '../../../server/logic/withdraw-submissions.ts';
import type { PilotCaller } from '../../../server/policy/caller.ts';
import { forEachDatabase } from '../../lab/databases.ts';
import {
  acquireLease,
  body,
  complete,
  csrFor,
  enrolBody,
  factory,
  newKey,
  newPilot,
  openLab,
  silent,
  stateOf,
  submit,
  takeSubmissions,
} from './server-lab.ts';

const pilotOf = ({ pilotId }: { pilotId: string }): PilotCaller => ({
  kind: 'pilot',
  name: `pilot ${pilotId}`,
  pilotId,
});

forEachDatabase((dialect, databaseTest) => {
  databaseTest('a submission is redeemed once, by one key, with the same answer again', async database => {
    const lab = await openLab(database);
    const [submission] = await takeSubmissions(lab, 1);
    const key = newKey();
    const first = await enrolPilot(lab.context, 'k1', enrolBody(submission!, key));
    const leaf = new X509Certificate(first.certificateChain);
    assert.equal(leaf.subject, `O=Pilotage\nOU=lab\nCN=pilot ${first.pilotId}`);
    assert.equal(first.queue, 'q1');
    const sameKey = await enrolPilot(lab.context, 'k1', enrolBody(submission!, key));
    const newRequest = await enrolPilot(lab.context, 'k2', enrolBody(submission!, key, { node: 'node2' }));
    const { validSeconds, ...same } = newRequest;
    assert.ok(validSeconds <= first.validSeconds && validSeconds > first.validSeconds - 60);
    assert.deepEqual([sameKey, { ...same, validSeconds: first.validSeconds }], [first, first]);
    await assert.rejects(enrolPilot(lab.context, 'k3', enrolBody(submission!, newKey())), {
      code: 'E_SECRET_USED',
      rule: 'one-time-secret',
    });
    assert.equal((await lab.db.selectFrom('pilot').selectAll().execute()).length, 1);
  });

  databaseTest(
    'wrong secrets, other instances, old protocols and bad requests are refused',
    async database => {
      const lab = await openLab(database);
      const [one, two] = await takeSubmissions(lab, 2);
      const enrol = (submission: typeof one, more = {}) =>
        enrolPilot(lab.context, newId(), enrolBody(submission!, newKey(), more));
      await assert.rejects(enrol(one, { secret: two!.secret }), { code: 'E_SECRET_INVALID' });
      await assert.rejects(enrol({ ...one!, submissionId: newId() }), { code: 'E_SECRET_INVALID' });
      await assert.rejects(enrol(one, { instance: 'other' }), { code: 'E_INSTANCE', found: 'other' });
      await assert.rejects(enrol(one, { protocol: 0 }), { code: 'E_PILOT_TOO_OLD' });
      await assert.rejects(enrol(one, { csr: 'not a request' }), {
        code: 'E_BAD_REQUEST',
        where: 'body.csr',
      });
      const key = newKey();
      await enrolPilot(lab.context, newId(), enrolBody(one!, key));
      await assert.rejects(enrolPilot(lab.context, newId(), enrolBody(two!, key)), {
        code: 'E_BAD_REQUEST',
        rule: 'one-key-one-credential',
      });
    },
  );

  databaseTest('secrets are in no table, and a repeated request gets the same ones', async database => {
    const lab = await openLab(database);
    const request = body('createSubmissions', { factory: 'f1', count: 2 });
    const first = await createSubmissions(lab.context, factory, 'key', 'q1', request);
    const again = await createSubmissions(lab.context, factory, 'key', 'q1', request);
    assert.deepEqual(again, first);
    assert.equal(first.submissions.length, 2);
    for (const table of ['submission', 'idempotency'] as const) {
      const rows = JSON.stringify(await lab.db.selectFrom(table).selectAll().execute());
      for (const { secret } of first.submissions)
        assert.ok(!rows.includes(secret), `${table} holds a secret`);
    }
  });

  databaseTest('submission ids and working pilots together stay under the cap', async database => {
    const lab = await openLab(database, {
      queues: [{ name: 'q1', vo: 'physics', maxPilots: 3, allowContainment: ['none'] }],
    });
    const batches = await Promise.all([
      takeSubmissions(lab, 2),
      takeSubmissions(lab, 2),
      takeSubmissions(lab, 2),
    ]);
    assert.equal(batches.flat().length, 3);
    assert.deepEqual(await takeSubmissions(lab, 1), []);
    const ids = batches.flat().map(({ submissionId }) => submissionId);
    const back = body('withdrawSubmissions', { factory: 'f1', submissionIds: [ids[0]!, newId()] });
    assert.deepEqual(await withdrawSubmissions(lab.context, factory, newId(), 'q1', back), {
      withdrawn: [ids[0]],
    });
    await assert.rejects(enrolPilot(lab.context, newId(), enrolBody(batches.flat()[0]!, newKey())), {
      code: 'E_SUBMISSION_GONE',
    });
    assert.equal((await takeSubmissions(lab, 5)).length, 1);
    const listed = await listSubmissions(lab.context, factory, 'q1', { factory: 'f1', limit: 10 });
    assert.deepEqual(listed.submissions.map(({ state }) => state).sort(), [
      'open',
      'open',
      'open',
      'withdrawn',
    ]);
  });

  databaseTest('the cap holds when more pilots than places enrol at once', async database => {
    const lab = await openLab(database);
    const submissions = await takeSubmissions(lab, 8);
    await lab.setQueues([{ name: 'q1', vo: 'physics', maxPilots: 3, allowContainment: ['none'] }]);
    const results = await Promise.allSettled(
      submissions.map(submission => enrolPilot(lab.context, newId(), enrolBody(submission, newKey()))),
    );
    const refused = results.filter(result => result.status === 'rejected');
    assert.equal(results.length - refused.length, 3);
    for (const { reason } of refused) {
      assert.equal((reason as { code: string }).code, 'E_PILOT_CAP');
      assert.ok((reason as { retryAfterSeconds: number }).retryAfterSeconds > 0);
    }
  });

  databaseTest('a silent pilot loses its place to a new one, and its job waits again', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const old = await newPilot(lab);
    const lease = await acquireLease(lab, old);
    const [submission] = await takeSubmissions(lab, 1);
    await lab.setQueues([{ name: 'q1', vo: 'physics', maxPilots: 1, allowContainment: ['none'] }]);
    await assert.rejects(enrolPilot(lab.context, newId(), enrolBody(submission!, newKey())), {
      code: 'E_PILOT_CAP',
    });
    await silent(lab, old);
    const fresh = pilotOf(await enrolPilot(lab.context, newId(), enrolBody(submission!, newKey())));
    assert.equal(await stateOf(lab, jobId!), 'activated');
    await assert.rejects(acquireLease(lab, old), { code: 'E_FENCED', rule: 'pilot-lease' });
    const next = await acquireLease(lab, fresh);
    assert.deepEqual([next.jobId, next.attemptNumber], [jobId, 2]);
    await complete(lab, fresh, next);
    await assert.rejects(complete(lab, old, lease), { code: 'E_JOB_GONE' });
  });

  // SQLite has one writer at a time: nothing expires while a pilot enrols.
  if (dialect !== 'sqlite') {
    databaseTest('a submission that expires while its pilot enrols has no pilot', async database => {
      const lab = await openLab(database);
      const sweeper = await openLab(database);
      const [submission] = await takeSubmissions(lab, 1);
      const { issuer } = lab.context;
      lab.context.issuer = {
        read: csr => issuer.read(csr),
        issue: async options => {
          await sweeper.db.updateTable('submission').set({ state: 'expired' }).execute();
          return issuer.issue(options);
        },
      };
      await assert.rejects(enrolPilot(lab.context, newId(), enrolBody(submission!, newKey())), {
        code: 'E_SUBMISSION_GONE',
      });
      assert.equal((await lab.db.selectFrom('pilot').selectAll().execute()).length, 0);
    });
  }

  databaseTest('nobody is told that a certificate outlives its authority', async database => {
    const lab = await openLab(database, { pilotCertificateSeconds: 1_000_000 });
    const [submission] = await takeSubmissions(lab, 1);
    const enrolled = await enrolPilot(lab.context, newId(), enrolBody(submission!, newKey()));
    const endsMs = Date.parse(new X509Certificate(enrolled.certificateChain).validTo);
    assert.ok(Math.abs(enrolled.validSeconds * 1000 - (endsMs - Date.now())) < 30_000);
  });

  databaseTest('a pilot renews its certificate with a new key, and leaves', async database => {
    const lab = await openLab(database, {
      queues: [{ name: 'q1', vo: 'physics', maxPilots: 1, allowContainment: ['none'] }],
    });
    const [jobId] = await submit(lab, {});
    const pilot = await newPilot(lab);
    const key = newKey();
    const request = body('renewPilot', { csr: csrFor(key) });
    const first = await renewPilot(lab.context, pilot, newId(), request);
    await lab.db
      .updateTable('credential')
      .set({ expires_ms: sql<number>`expires_ms - 40000000` })
      .execute();
    const again = await renewPilot(lab.context, pilot, newId(), request);
    assert.equal(first.validSeconds, 43_200);
    assert.ok(again.validSeconds <= 3200 && again.validSeconds > 3000, `${again.validSeconds} s are left`);
    assert.equal(again.certificateChain, first.certificateChain);
    await acquireLease(lab, pilot);
    await leavePilot(lab.context, pilot, newId(), body('leavePilot', { reason: 'done', jobsDone: 0 }));
    await leavePilot(lab.context, pilot, newId(), body('leavePilot', { reason: 'done', jobsDone: 0 }));
    assert.equal(await stateOf(lab, jobId!), 'activated');
    const numbers = await demand(lab.context, factory, 'q1');
    assert.deepEqual([numbers.pilotsIdle, numbers.pilotsBusy, numbers.recent.pilotsEnded], [0, 0, 1]);
    await assert.rejects(
      renewPilot(lab.context, pilot, newId(), body('renewPilot', { csr: csrFor(newKey()) })),
      {
        code: 'E_FENCED',
      },
    );
    await newPilot(lab);
  });

  databaseTest(
    'another incarnation of the database refuses what the earlier one gave out',
    async database => {
      const lab = await openLab(database);
      await submit(lab, {});
      const [submission] = await takeSubmissions(lab, 1);
      const pilot = await newPilot(lab);
      const lease = await acquireLease(lab, pilot);
      await lab.db.updateTable('service').set({ incarnation: 'restored' }).execute();
      await assert.rejects(enrolPilot(lab.context, newId(), enrolBody(submission!, newKey())), {
        code: 'E_SUBMISSION_GONE',
      });
      await assert.rejects(complete(lab, pilot, lease), { code: 'E_FENCED', rule: 'database-incarnation' });
      await assert.rejects(acquireLease(lab, pilot), { code: 'E_FENCED' });
    },
  );
});
