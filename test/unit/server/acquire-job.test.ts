import { buildVersion } from '../../../lib/build-version.ts';
import assert from 'node:assert/strict';
import { createQueryId } from 'kysely';
import type { KyselyPlugin, RootOperationNode } from 'kysely';
import { countRefusals } from '../../../server/queries/count-refusals.ts';
import { newId } from '../../../lib/ids.ts';
import { acquireJob } from '../../../server/logic/acquire-job.ts';
import { demand } from '../../../server/logic/demand.ts';
import { forEachDatabase } from '../../lab/databases.ts';
import {
  acquire,
  acquireBody,
  acquireLease,
  beat,
  body,
  complete,
  definition,
  factory,
  newPilot,
  openLab,
  show,
  submit,
} from './server-lab.ts';
import { submitJobs } from '../../../server/logic/submit-jobs.ts';
import { alice, nextTurn, overdue } from './server-lab.ts';
import { expireLeases } from '../../../server/logic/expire-leases.ts';

const q1 = (more = {}) => ({
  name: 'q1',
  vo: 'physics',
  maxPilots: 10,
  allowContainment: ['none' as const],
  ...more,
});

forEachDatabase((dialect, databaseTest) => {
  databaseTest('the most urgent job first, then the oldest', async database => {
    const lab = await openLab(database);
    const [low, normal, second, urgent] = await submit(lab, { priority: 1 }, {}, {}, { priority: 5000 });
    const pilot = await newPilot(lab);
    const order = [];
    for (let turn = 0; turn < 4; turn += 1) {
      const lease = await acquireLease(lab, pilot);
      order.push(lease.jobId);
      await complete(lab, pilot, lease);
    }
    assert.deepEqual(order, [urgent, normal, second, low]);
    const none = await acquire(lab, pilot);
    assert.deepEqual([none.lease, none.drain, none.retrySeconds], [null, false, 5]);
  });

  databaseTest('a lost answer is given again, by the same key or a new one', async database => {
    const lab = await openLab(database);
    await submit(lab, {}, {});
    const pilot = await newPilot(lab);
    const first = await acquire(lab, pilot, {}, 'k1');
    assert.equal(first.lease?.attemptNumber, 1);
    assert.deepEqual(await acquire(lab, pilot, {}, 'k1'), first);
    assert.deepEqual((await acquire(lab, pilot, {}, 'k2')).lease, first.lease);
    await beat(lab, pilot, first.lease);
    assert.deepEqual((await acquire(lab, pilot, {}, 'k1')).lease, first.lease);
    const next = await acquire(lab, pilot, {}, 'k3');
    assert.notEqual(next.lease?.jobId, first.lease?.jobId);
    await assert.rejects(acquire(lab, pilot, { node: 'elsewhere' }, 'k1'), {
      code: 'E_IDEMPOTENCY_CONFLICT',
    });
  });

  databaseTest('an attempt says which pilot release and which server it is of', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    await acquire(lab, await newPilot(lab));
    const [attempt] = (await show(lab, jobId!)).attempts;
    assert.deepEqual([attempt!.release, attempt!.serverVersion], [null, buildVersion]);
    // An older server leaves it out.
    await lab.db.updateTable('attempt').set({ server_version: null }).execute();
    assert.equal((await show(lab, jobId!)).attempts[0]!.serverVersion, null);
  });

  databaseTest('a lease that is given again holds as long as its answer says', async database => {
    const lab = await openLab(database);
    await submit(lab, {});
    const pilot = await newPilot(lab);
    const { lease } = await acquire(lab, pilot, {}, 'k1');
    for (const key of ['k1', 'k2']) {
      await overdue(lab, lease!);
      assert.deepEqual((await acquire(lab, pilot, {}, key)).lease, lease);
      await nextTurn(lab);
      assert.deepEqual(await expireLeases(lab.context), { attemptsLost: 0 }, `asked again with ${key}`);
    }
    await beat(lab, pilot, lease!);
  });

  databaseTest('many pilots at once get every job exactly once', async database => {
    const lab = await openLab(database);
    const jobs = await submit(lab, ...Array.from({ length: 6 }, () => ({})));
    const pilots = [];
    for (let index = 0; index < 8; index += 1) pilots.push(await newPilot(lab));
    const replies = await Promise.all(pilots.map(pilot => acquire(lab, pilot)));
    const leases = replies.flatMap(({ lease }) => (lease ? [lease] : []));
    assert.deepEqual(leases.map(({ jobId }) => jobId).sort(), jobs.toSorted());
    assert.equal(new Set(leases.map(({ pandaId }) => pandaId)).size, 6);
    const numbers = await demand(lab.context, factory, 'q1');
    assert.deepEqual(
      [numbers.activated, numbers.active, numbers.pilotsBusy, numbers.pilotsIdle],
      [0, 6, 6, 2],
    );
  });

  databaseTest('a job that does not fit is refused by its predicate', async database => {
    const lab = await openLab(database, {
      queues: [q1(), q1({ name: 'q2' }), q1({ name: 'walled', allowContainment: ['bubblewrap'] })],
    });
    await submit(
      lab,
      { cores: 64 },
      { limits: { memoryBytes: 2 ** 40 } },
      { limits: { diskBytes: 2 ** 50 } },
      { limits: { wallSeconds: 100_000 } },
      { label: 'install' },
      { queue: 'q2' },
      { queue: 'walled' },
    );
    const counted = Object.fromEntries(
      (await acquire(lab, await newPilot(lab))).refusals.map(({ predicate, jobs }) => [predicate, jobs]),
    );
    assert.deepEqual(counted, { queue: 2, label: 1, cores: 1, memory: 1, disk: 1, walltime: 1 });
    const walled = await acquire(lab, await newPilot(lab, 'walled'));
    assert.equal(walled.lease, null);
    assert.ok(walled.refusals.some(({ predicate, jobs }) => predicate === 'containment' && jobs === 1));
    const inside = await acquire(lab, await newPilot(lab, 'walled'), { containment: 'bubblewrap' });
    assert.equal(inside.lease?.definition.queue, 'walled');
    const pilots = await lab.db.selectFrom('pilot').select(['queue', 'refusals_json']).execute();
    assert.ok(
      pilots.some(({ queue, refusals_json }) => queue === 'q1' && refusals_json.includes('walltime')),
    );
  });

  if (dialect === 'sqlite') {
    databaseTest(
      'why jobs do not fit is told from waiting jobs, not from all there ever were',
      async database => {
        const lab = await openLab(database);
        const statements: RootOperationNode[] = [];
        const recording: KyselyPlugin = {
          transformQuery: ({ node }) => {
            statements.push(node);
            return node;
          },
          transformResult: async ({ result }) => result,
        };
        const offer = {
          queue: 'q1',
          labels: ['user'],
          cores: 1,
          memoryBytes: 1,
          diskBytes: 1,
          wallSeconds: 1,
        };
        await countRefusals(lab.db.withPlugin(recording), 'physics', offer);
        const query = lab.db.getExecutor().compileQuery(statements.at(-1)!, createQueryId());
        const { rows } = await lab.db.executeQuery<{ detail: string }>({
          ...query,
          sql: `explain query plan ${query.sql}`,
        });
        const plan = rows.map(row => row.detail).join('; ');
        assert.match(plan, /SEARCH job USING INDEX job_by_claim \(queue=\? AND state=\?\)/);
      },
    );
  }

  databaseTest('huge offers are compared as numbers', async database => {
    const lab = await openLab(database);
    await submit(lab, {});
    const resources = {
      cores: Number.MAX_SAFE_INTEGER,
      memoryBytes: Number.MAX_SAFE_INTEGER,
      diskBytes: Number.MAX_SAFE_INTEGER,
      wallSecondsLeft: 31_622_399.75,
    };
    assert.ok((await acquire(lab, await newPilot(lab), { resources })).lease);
  });

  databaseTest('a waiting pilot gets a job as soon as it is there', async database => {
    const lab = await openLab(database);
    const pilot = await newPilot(lab);
    const waiting = acquire(lab, pilot, { waitSeconds: 20 });
    const started = performance.now();
    const [jobId] = await submit(lab, {});
    const { lease } = await waiting;
    assert.equal(lease?.jobId, jobId);
    assert.ok(performance.now() - started < 5000);
    const empty = await acquire(lab, await newPilot(lab), { waitSeconds: 0.2 });
    assert.equal(empty.lease, null);
  });

  databaseTest('a waiting call ends when its caller is gone, and takes no job with it', async database => {
    const lab = await openLab(database);
    const pilot = await newPilot(lab);
    const gone = new AbortController();
    const waiting = acquireJob(lab.context, pilot, newId(), acquireBody({ waitSeconds: 30 }), gone.signal);
    gone.abort();
    assert.equal((await waiting).lease, null);
    await submit(lab, {});
    assert.equal((await demand(lab.context, factory, 'q1')).activated, 1);
  });

  databaseTest('pilots beyond a lowered cap are told to drain, the newest first', async database => {
    const lab = await openLab(database);
    const [older, newer] = [await newPilot(lab), await newPilot(lab)];
    await submit(lab, {}, {});
    await lab.setQueues([q1({ maxPilots: 1 })]);
    assert.deepEqual([(await acquire(lab, older)).drain, (await acquire(lab, newer)).drain], [false, true]);
    await lab.setQueues([]);
    assert.equal((await acquire(lab, newer)).drain, true);
    await assert.rejects(
      submitJobs(lab.context, alice, newId(), body('submit', { jobs: [{ definition: definition() }] })),
      { code: 'E_NOT_FOUND' },
    );
  });

  databaseTest('integer ids come from the range of the shard', async database => {
    const lab = await openLab(database, { pandaIds: { first: 5_000_000_000, last: 5_000_000_001 } });
    const [first] = await submit(lab, {}, {}, {});
    const pilot = await newPilot(lab);
    const ids = [];
    for (let turn = 0; turn < 2; turn += 1) {
      const lease = await acquireLease(lab, pilot);
      ids.push(lease.pandaId);
      await complete(lab, pilot, lease);
    }
    assert.deepEqual(ids, [5_000_000_000, 5_000_000_001]);
    assert.equal((await show(lab, first!)).attempts[0]!.pandaId, 5_000_000_000);
    await assert.rejects(acquire(lab, pilot), /used up/);
  });
});
