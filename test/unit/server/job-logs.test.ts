import assert from 'node:assert/strict';
import type { KyselyPlugin } from 'kysely';
import type { RequestBody } from '../../../lib/protocol.ts';
import type { Lease } from '../../../lib/protocol/job.ts';
import { formatError } from '../../../lib/errors.ts';
import { newId } from '../../../lib/ids.ts';
import { appendLog } from '../../../server/logic/append-log.ts';
import { jobLogs } from '../../../server/logic/job-logs.ts';
import { payloadCredential } from '../../../server/logic/payload-credential.ts';
import { showReceipt } from '../../../server/logic/show-receipt.ts';
import { showJob } from '../../../server/logic/show-job.ts';
import type { PayloadCaller, PilotCaller } from '../../../server/policy/caller.ts';
import { forEachDatabase } from '../../lab/databases.ts';
import {
  acquireLease,
  alice,
  beat,
  body,
  complete,
  csrFor,
  member,
  newKey,
  newPilot,
  openLab,
  submit,
} from './server-lab.ts';
import type { Lab } from './server-lab.ts';

const append = (
  lab: Lab,
  pilot: PilotCaller,
  lease: Lease,
  offset: number,
  text: string,
  more: Partial<RequestBody<'appendLog'>> = {},
) =>
  appendLog(
    lab.context,
    pilot,
    lease.attemptId,
    body('appendLog', {
      incarnation: lease.incarnation,
      stream: 'stdout',
      offset,
      data: Buffer.from(text).toString('base64'),
      last: false,
      ...more,
    }),
  );

forEachDatabase((_dialect, databaseTest) => {
  databaseTest('tails while it runs, the whole output afterwards, each piece once', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    assert.deepEqual(await jobLogs(lab.context, alice, jobId!, undefined), {
      attemptId: null,
      stdout: '',
      stderr: '',
      complete: false,
    });
    const pilot = await newPilot(lab);
    const lease = await acquireLease(lab, pilot);
    await beat(lab, pilot, lease, { tail: { stdout: 'tail of out', stderr: 'tail of err' } });
    assert.equal((await jobLogs(lab.context, alice, jobId!, undefined)).stdout, 'tail of out');
    assert.deepEqual(await append(lab, pilot, lease, 0, 'one '), { nextOffset: 4 });
    assert.deepEqual(await append(lab, pilot, lease, 0, 'one '), { nextOffset: 4 });
    assert.deepEqual(await append(lab, pilot, lease, 2, 'e two '), { nextOffset: 8 });
    assert.deepEqual(await append(lab, pilot, lease, 20, 'gap'), { nextOffset: 8 });
    await complete(lab, pilot, lease);
    assert.deepEqual(await append(lab, pilot, lease, 8, 'ü\0!', { last: true }), { nextOffset: 12 });
    assert.deepEqual(await append(lab, pilot, lease, 12, 'more'), { nextOffset: 12 });
    await append(lab, pilot, lease, 0, '', { stream: 'stderr', last: true });
    assert.deepEqual(await jobLogs(lab.context, alice, jobId!, lease.attemptId), {
      attemptId: lease.attemptId,
      stdout: 'one two ü\0!',
      stderr: '',
      complete: true,
    });
    await assert.rejects(append(lab, pilot, lease, 0, '', { data: '***' }), { code: 'E_BAD_REQUEST' });
    await assert.rejects(jobLogs(lab.context, alice, jobId!, newId()), { code: 'E_NOT_FOUND' });
    const stranger = member('eve', ['admin'], ['biology']);
    await assert.rejects(jobLogs(lab.context, stranger, jobId!, undefined), { code: 'E_NOT_FOUND' });
  });

  databaseTest('output beyond the bound is counted and dropped', async database => {
    const lab = await openLab(database, { limits: { logBytes: 1024 } });
    const [jobId] = await submit(lab, {});
    const pilot = await newPilot(lab);
    const lease = await acquireLease(lab, pilot);
    assert.deepEqual(await append(lab, pilot, lease, 0, 'x'.repeat(1000)), { nextOffset: 1000 });
    assert.deepEqual(await append(lab, pilot, lease, 1000, 'y'.repeat(1000)), { nextOffset: 2000 });
    assert.deepEqual(await append(lab, pilot, lease, 2000, 'z'.repeat(1000), { last: true }), {
      nextOffset: 3000,
    });
    const logs = await jobLogs(lab.context, alice, jobId!, undefined);
    assert.equal(logs.stdout, 'x'.repeat(1000) + 'y'.repeat(24));
    assert.equal(logs.complete, false);
  });

  databaseTest('of a large log no more is read than is shown', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const pilot = await newPilot(lab);
    const lease = await acquireLease(lab, pilot);
    const piece = 700_000;
    for (let index = 0; index < 18; index += 1) {
      await append(lab, pilot, lease, index * piece, String.fromCharCode(97 + index).repeat(piece));
    }
    let read = 0;
    const counting: KyselyPlugin = {
      transformQuery: ({ node }) => node,
      transformResult: async ({ result }) => {
        for (const row of result.rows) if (typeof row.data === 'string') read += row.data.length;
        return result;
      },
    };
    const { db } = lab.context.database;
    const context = { ...lab.context, database: { ...lab.context.database, db: db.withPlugin(counting) } };
    const { stdout } = await jobLogs(context, alice, jobId!, undefined);
    assert.equal(stdout.length, 8 << 20);
    assert.ok(stdout.endsWith('r'.repeat(piece)) && stdout.startsWith('g'));
    assert.ok(read > 8 << 20 && read < 13.5e6, `${read} characters`);
  });

  databaseTest('an attempt of another VO is not told from none, nor is its job named', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const lease = await acquireLease(lab, await newPilot(lab));
    const carol = member('carol', ['admin'], ['biology']);
    const missing = newId();
    const payload: PayloadCaller = { kind: 'payload', name: 'payload x', attemptId: newId() };
    for (const caller of [carol, payload]) {
      const refusalOf = async (attemptId: string) => {
        const refusal = await showReceipt(lab.context, caller, attemptId).catch((error: unknown) => error);
        return formatError(refusal).replaceAll(attemptId, 'ATTEMPT');
      };
      assert.equal(await refusalOf(lease.attemptId), await refusalOf(missing));
      assert.ok(!(await refusalOf(lease.attemptId)).includes(jobId!));
    }
  });

  databaseTest("a payload's credential is for its own key, and reads its own job only", async database => {
    const lab = await openLab(database);
    const [jobId, other] = await submit(lab, {}, {});
    const pilot = await newPilot(lab);
    const lease = await acquireLease(lab, pilot);
    const csr = csrFor(newKey());
    const ask = (text: string) =>
      payloadCredential(
        lab.context,
        pilot,
        newId(),
        lease.attemptId,
        body('payloadCredential', { incarnation: lease.incarnation, csr: text }),
      );
    const first = await ask(csr);
    assert.equal((await ask(csr)).certificateChain, first.certificateChain);
    const rows = await lab.db.selectFrom('credential').selectAll().where('kind', '=', 'payload').execute();
    assert.deepEqual(
      rows.map(row => [row.attempt_id, row.pilot_id]),
      [[lease.attemptId, pilot.pilotId]],
    );
    const payload: PayloadCaller = { kind: 'payload', name: 'payload', attemptId: lease.attemptId };
    assert.equal((await showJob(lab.context, payload, jobId!)).job.jobId, jobId);
    await assert.rejects(showJob(lab.context, payload, other!), { code: 'E_NOT_FOUND' });
    await complete(lab, pilot, lease);
    await assert.rejects(ask(csrFor(newKey())), { code: 'E_JOB_GONE' });
  });
});
