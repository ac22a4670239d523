import assert from 'node:assert/strict';
import { newId } from '../../../lib/ids.ts';
import { listJobs } from '../../../server/logic/list-jobs.ts';
import { submitJobs } from '../../../server/logic/submit-jobs.ts';
import { forEachDatabase } from '../../lab/databases.ts';
import { alice, body, definition, member, openLab, show, submit } from './server-lab.ts';

forEachDatabase((_dialect, databaseTest) => {
  databaseTest('jobs are submitted, named by their definition, and have a history', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, { name: 'first', environment: { TEXT: 'nul \0 and ü' } });
    const shown = await show(lab, jobId!);
    assert.equal(shown.job.state, 'activated');
    assert.equal(shown.job.owner, alice.name);
    assert.equal(shown.definition.environment.TEXT, 'nul \0 and ü');
    assert.match(shown.definitionSha256, /^[0-9a-f]{64}$/);
    assert.deepEqual(
      shown.events.map(event => [event.from, event.to]),
      [
        [null, 'defined'],
        ['defined', 'activated'],
      ],
    );
  });

  databaseTest('all jobs of a request or none', async database => {
    const lab = await openLab(database);
    const jobs = [{ definition: definition() }, { definition: definition({ queue: 'nowhere' }) }];
    await assert.rejects(submitJobs(lab.context, alice, newId(), body('submit', { jobs })), {
      code: 'E_NOT_FOUND',
      where: 'jobs[1].definition.queue',
    });
    assert.equal((await lab.db.selectFrom('job').selectAll().execute()).length, 0);
    const many = Array.from({ length: 230 }, (_, index) => ({
      definition: definition({ name: `j${index}` }),
    }));
    const reply = await submitJobs(lab.context, alice, newId(), body('submit', { jobs: many }));
    assert.equal(new Set(reply.jobs.map(job => job.jobId)).size, 230);
  });

  databaseTest(
    'the same key gives the same jobs, and another request under it is refused',
    async database => {
      const lab = await openLab(database);
      const request = body('submit', { jobs: [{ definition: definition() }] });
      const [first, again, atOnce] = await Promise.all([
        submitJobs(lab.context, alice, 'key-1', request),
        submitJobs(lab.context, alice, 'key-1', request),
        submitJobs(lab.context, alice, 'key-1', request),
      ]);
      assert.deepEqual(again, first);
      assert.deepEqual(atOnce, first);
      assert.equal((await lab.db.selectFrom('job').selectAll().execute()).length, 1);
      const other = body('submit', { jobs: [{ definition: definition({ name: 'other' }) }] });
      await assert.rejects(submitJobs(lab.context, alice, 'key-1', other), {
        code: 'E_IDEMPOTENCY_CONFLICT',
      });
      const bob = member('bob', ['submitter']);
      const his = await submitJobs(lab.context, bob, 'key-1', other);
      assert.notEqual(his.jobs[0]!.jobId, first.jobs[0]!.jobId);
    },
  );

  databaseTest('a job id minted by the client makes the job one and the same', async database => {
    const lab = await openLab(database);
    const jobId = newId();
    const jobs = [{ jobId, definition: definition() }];
    const first = await submitJobs(lab.context, alice, newId(), body('submit', { jobs }));
    const again = await submitJobs(lab.context, alice, newId(), body('submit', { jobs }));
    assert.deepEqual(again, first);
    assert.equal(first.jobs[0]!.jobId, jobId);
    const other = [{ jobId, definition: definition({ name: 'other' }) }];
    await assert.rejects(submitJobs(lab.context, alice, newId(), body('submit', { jobs: other })), {
      code: 'E_IDEMPOTENCY_CONFLICT',
    });
    const bob = member('bob', ['submitter']);
    await assert.rejects(submitJobs(lab.context, bob, newId(), body('submit', { jobs })), {
      code: 'E_IDEMPOTENCY_CONFLICT',
    });
  });

  databaseTest('the same job ids under other keys at the same time are the same jobs', async database => {
    const lab = await openLab(database);
    for (let round = 0; round < 5; round += 1) {
      const jobs = Array.from({ length: 30 }, () => ({ jobId: newId(), definition: definition() }));
      const replies = await Promise.all(
        [1, 2, 3, 4].map(() => submitJobs(lab.context, alice, newId(), body('submit', { jobs }))),
      );
      for (const reply of replies) assert.deepEqual(reply, replies[0]);
    }
    assert.equal((await lab.db.selectFrom('job').select('job_id').execute()).length, 150);
    assert.equal((await lab.db.selectFrom('job_event').select('job_id').execute()).length, 300);
  });

  databaseTest('what cannot be run is refused by its field', async database => {
    const lab = await openLab(database, {
      queues: [
        { name: 'q1', vo: 'physics', maxPilots: 1, labels: ['user'] },
        { name: 'b1', vo: 'biology', maxPilots: 1 },
      ],
    });
    const refused = (more: Parameters<typeof definition>[0]) =>
      submitJobs(lab.context, alice, newId(), body('submit', { jobs: [{ definition: definition(more) }] }));
    await assert.rejects(refused({ outputs: [{ name: 'a' }] }), {
      code: 'E_BAD_REQUEST',
      where: 'jobs[0].definition.outputUrl',
    });
    await assert.rejects(refused({ outputs: [{ name: 'a' }, { name: 'a' }], outputUrl: 'file:///tmp/out' }), {
      code: 'E_BAD_REQUEST',
      found: 'a',
    });
    await assert.rejects(refused({ queue: 'b1' }), { code: 'E_NOT_FOUND' });
    await assert.rejects(refused({ label: 'install' }), { code: 'E_BAD_REQUEST', found: 'install' });
    await assert.rejects(refused({ vo: 'biology', queue: 'b1' }), {
      code: 'E_NOT_IN_VO',
      rule: 'members-only',
    });
  });

  databaseTest('lists hold only the jobs of the caller, page by page, newest first', async database => {
    const lab = await openLab(database, {
      queues: [
        { name: 'q1', vo: 'physics', maxPilots: 1 },
        { name: 'b1', vo: 'biology', maxPilots: 1 },
      ],
    });
    const ids = await submit(lab, { group: 'g' }, {}, { group: 'g' });
    const carol = member('carol', ['submitter'], ['biology']);
    const hers = body('submit', { jobs: [{ definition: definition({ vo: 'biology', queue: 'b1' }) }] });
    await submitJobs(lab.context, carol, newId(), hers);
    const first = await listJobs(lab.context, alice, { limit: 2 });
    assert.deepEqual(
      first.jobs.map(job => job.jobId),
      [ids[2], ids[1]],
    );
    const second = await listJobs(lab.context, alice, { limit: 2, cursor: first.nextCursor! });
    assert.deepEqual(
      second.jobs.map(job => job.jobId),
      [ids[0]],
    );
    assert.equal(second.nextCursor, null);
    const grouped = await listJobs(lab.context, alice, { limit: 10, group: 'g', state: 'activated' });
    assert.equal(grouped.jobs.length, 2);
    await assert.rejects(listJobs(lab.context, alice, { limit: 10, vo: 'biology' }), { code: 'E_NOT_IN_VO' });
  });
});
