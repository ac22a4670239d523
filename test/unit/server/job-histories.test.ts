import * as fc from 'fast-check';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PilotageError } from '../../../lib/errors.ts';
import { newId } from '../../../lib/ids.ts';
import { activeStates, isFinal, mayBecome } from '../../../lib/job-states.ts';
import type { JobState } from '../../../lib/job-states.ts';
import type { Lease } from '../../../lib/protocol/job.ts';
import { isWireErrorCode } from '../../../lib/error-table.ts';
import { enrolPilot } from '../../../server/logic/enrol-pilot.ts';
import { expireLeases } from '../../../server/logic/expire-leases.ts';
import { killJob } from '../../../server/logic/kill-job.ts';
import { leavePilot } from '../../../server/logic/leave-pilot.ts';
import type { PilotCaller } from '../../../server/policy/caller.ts';
import { testDatabase } from '../../lab/databases.ts';
import {
  acquire,
  alice,
  beat,
  body,
  complete,
  enrolBody,
  newKey,
  nextTurn,
  openLab,
  overdue,
  silent,
  submit,
  takeSubmissions,
} from './server-lab.ts';
import type { Lab } from './server-lab.ts';

const CAP = 3;

/** One step of a history; `who` and `which` pick a pilot and a lease among those that exist. */
type Step =
  | { do: 'submit'; maxAttempts: number }
  | { do: 'enrol'; twice: boolean }
  | { do: 'acquire'; who: number; twice: boolean }
  | { do: 'beat'; which: number; state: 'starting' | 'running' | 'holding' | 'transferring' }
  | {
      do: 'complete';
      which: number;
      outcome: 'finished' | 'failed' | 'cancelled' | 'returned';
      cause: string | null;
      twice: boolean;
    }
  | { do: 'kill'; which: number }
  | { do: 'expire'; which: number }
  | { do: 'late'; which: number; who: number }
  | { do: 'silence'; who: number }
  | { do: 'leave'; who: number };

const pick = fc.nat({ max: 20 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('submit'), maxAttempts: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('enrol'), twice: fc.boolean() }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('acquire'), who: pick, twice: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('beat'),
      which: pick,
      state: fc.constantFrom('starting', 'running', 'holding', 'transferring'),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('complete'),
      which: pick,
      outcome: fc.constantFrom('finished', 'failed', 'cancelled', 'returned'),
      cause: fc.constantFrom(null, 'PAYLOAD_EXIT', 'STAGE_IN_FAILED', 'PILOT_TERMINATED'),
      twice: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('kill'), which: pick }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('expire'), which: pick }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('late'), which: pick, who: pick }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('silence'), who: pick }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave'), who: pick }) },
);

interface World {
  lab: Lab;
  queue: string;
  jobs: string[];
  pilots: PilotCaller[];
  leases: { lease: Lease; pilot: PilotCaller }[];
  /** Final states seen, with the accepted attempt: they may never change again. */
  ended: Map<string, string>;
}

const nth = <T>(list: readonly T[], index: number): T | undefined => list[index % Math.max(1, list.length)];

/** Refusals are part of every history; anything that is no code of the wire is a defect. */
async function tolerate<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof PilotageError && isWireErrorCode(error.code)) return undefined;
    throw error;
  }
}

async function run(world: World, one: Step): Promise<void> {
  const { lab, queue } = world;
  switch (one.do) {
    case 'submit':
      world.jobs.push(...(await submit(lab, { queue, maxAttempts: one.maxAttempts })));
      return;
    case 'enrol': {
      const [submission] = await takeSubmissions(lab, 1, queue);
      if (!submission) return;
      const request = enrolBody(submission, newKey());
      const first = await tolerate(enrolPilot(lab.context, newId(), request));
      if (!first) return;
      if (one.twice) assert.deepEqual(await enrolPilot(lab.context, newId(), request), first);
      world.pilots.push({ kind: 'pilot', name: `pilot ${first.pilotId}`, pilotId: first.pilotId });
      return;
    }
    case 'acquire': {
      const pilot = nth(world.pilots, one.who);
      if (!pilot) return;
      const key = newId();
      const first = await tolerate(acquire(lab, pilot, {}, key));
      if (!first?.lease) return;
      if (one.twice) {
        assert.deepEqual((await acquire(lab, pilot, {}, key)).lease, first.lease);
        assert.deepEqual((await acquire(lab, pilot, {}, newId())).lease, first.lease);
      }
      world.leases.push({ lease: first.lease, pilot });
      return;
    }
    case 'beat': {
      const held = nth(world.leases, one.which);
      if (held) await tolerate(beat(lab, held.pilot, held.lease, { state: one.state }));
      return;
    }
    case 'complete': {
      const held = nth(world.leases, one.which);
      if (!held) return;
      const cause = one.cause === null ? null : { code: one.cause, text: 'so it was' };
      const result = { outcome: one.outcome, cause };
      const first = await tolerate(complete(lab, held.pilot, held.lease, result));
      if (first && one.twice) assert.deepEqual(await complete(lab, held.pilot, held.lease, result), first);
      return;
    }
    case 'kill': {
      const jobId = nth(world.jobs, one.which);
      if (jobId) await tolerate(killJob(lab.context, alice, newId(), jobId, body('killJob', {})));
      return;
    }
    case 'expire': {
      const held = nth(world.leases, one.which);
      if (!held) return;
      await overdue(lab, held.lease);
      await nextTurn(lab);
      await expireLeases(lab.context);
      return;
    }
    case 'late': {
      const held = nth(world.leases, one.which);
      if (!held) return;
      await run(world, { do: 'expire', which: one.which });
      await run(world, { do: 'acquire', who: one.who, twice: false });
      await tolerate(complete(lab, held.pilot, held.lease));
      return;
    }
    case 'silence': {
      const pilot = nth(world.pilots, one.who);
      if (!pilot) return;
      await silent(lab, pilot);
      await nextTurn(lab);
      await expireLeases(lab.context);
      return;
    }
    case 'leave': {
      const pilot = nth(world.pilots, one.who);
      const request = body('leavePilot', { reason: 'history', jobsDone: 0 });
      if (pilot) await tolerate(leavePilot(lab.context, pilot, newId(), request));
    }
  }
}

/** What must hold after every step, whatever came before. */
async function check({ lab, queue, ended }: World): Promise<void> {
  const { db } = lab;
  const working = await db
    .selectFrom('pilot')
    .select('pilot_id')
    .where('queue', '=', queue)
    .where('state', '=', 'working')
    .execute();
  assert.ok(working.length <= CAP, `${working.length} working pilots over a cap of ${CAP}`);
  for (const job of await db.selectFrom('job').selectAll().where('queue', '=', queue).execute()) {
    const events = await db
      .selectFrom('job_event')
      .selectAll()
      .where('job_id', '=', job.job_id)
      .orderBy('event_id')
      .execute();
    let state: string | null = null;
    for (const { from_state, to_state } of events) {
      assert.equal(from_state, state, 'the history has no gaps');
      if (from_state !== null) assert.ok(mayBecome(from_state, to_state as JobState));
      state = to_state;
    }
    assert.equal(job.state, state, 'the state is where the history ends');
    const attempts = await db.selectFrom('attempt').selectAll().where('job_id', '=', job.job_id).execute();
    const finished = attempts.filter(attempt => attempt.state === 'finished');
    assert.equal(finished.length, job.state === 'finished' ? 1 : 0, 'one accepted result, of a finished job');
    if (finished[0]) assert.equal(job.accepted_attempt_id, finished[0].attempt_id);
    const live = attempts.filter(attempt => attempt.ended_ms === null);
    const active = activeStates.includes(job.state as JobState);
    assert.deepEqual(
      live.map(attempt => attempt.attempt_id),
      active ? [job.current_attempt_id] : [],
      `a job that is ${job.state}`,
    );
    assert.ok(job.tries <= job.max_attempts);
    assert.equal(new Set(attempts.map(attempt => attempt.attempt_number)).size, attempts.length);
    const end = `${job.state} ${job.accepted_attempt_id}`;
    if (ended.has(job.job_id)) assert.equal(end, ended.get(job.job_id), 'what has ended stays as it is');
    if (isFinal(job.state as JobState)) ended.set(job.job_id, end);
  }
}

test('no history of submits, pilots, results, kills and losses breaks a job', async t => {
  const lab = await openLab(await testDatabase('sqlite', t));
  let histories = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 28 }), async steps => {
      const queue = `history-${(histories += 1)}`;
      await lab.setQueues([{ name: queue, vo: 'physics', maxPilots: CAP, allowContainment: ['none'] }]);
      const world: World = { lab, queue, jobs: [], pilots: [], leases: [], ended: new Map() };
      await run(world, { do: 'submit', maxAttempts: 2 });
      await run(world, { do: 'enrol', twice: false });
      for (const one of steps) {
        await run(world, one);
        await check(world);
      }
    }),
    { numRuns: 60, interruptAfterTimeLimit: 40_000, markInterruptAsFailure: false },
  );
  assert.ok(histories >= 10, `only ${histories} histories in the time there was`);
});
