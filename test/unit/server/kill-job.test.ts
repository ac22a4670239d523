import assert from 'node:assert/strict';
import { newId } from '../../../lib/ids.ts';
import { commandJob } from '../../../server/logic/command-job.ts';
import { killJob } from '../../../server/logic/kill-job.ts';
import { forEachDatabase } from '../../lab/databases.ts';
import {
  acquire,
  acquireLease,
  alice,
  beat,
  body,
  complete,
  member,
  newPilot,
  openLab,
  shifter,
  show,
  stateOf,
  submit,
} from './server-lab.ts';

forEachDatabase((_dialect, databaseTest) => {
  databaseTest('a waiting job is cancelled at once and never given out', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const request = body('killJob', { reason: 'typo' });
    const killed = await killJob(lab.context, alice, newId(), jobId!, request);
    assert.deepEqual(killed, { jobId, state: 'cancelled' });
    assert.deepEqual(await killJob(lab.context, alice, newId(), jobId!, request), killed);
    assert.equal((await acquire(lab, await newPilot(lab))).lease, null);
    assert.deepEqual((await show(lab, jobId!)).job.cause?.text, 'typo');
  });

  databaseTest('a running job is told with its next heartbeat', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const pilot = await newPilot(lab);
    const lease = await acquireLease(lab, pilot);
    assert.equal((await beat(lab, pilot, lease)).commands.length, 0);
    for (let twice = 0; twice < 2; twice += 1) {
      const { state } = await killJob(lab.context, shifter, newId(), jobId!, body('killJob', {}));
      assert.equal(state, 'running');
    }
    const { commands } = await beat(lab, pilot, lease);
    assert.deepEqual(
      commands.map(({ verb, reason }) => [verb, reason]),
      [['kill', `killed by ${shifter.name}`]],
    );
    assert.deepEqual((await beat(lab, pilot, lease, { acknowledged: [commands[0]!.id] })).commands, []);
    const cause = { code: 'KILLED', text: 'told to' };
    assert.deepEqual(await complete(lab, pilot, lease, { outcome: 'cancelled', cause }), {
      accepted: true,
      jobState: 'cancelled',
    });
    assert.equal((await show(lab, jobId!)).job.acceptedAttemptId, lease.attemptId);
  });

  databaseTest(
    'a job that fails or is handed back after the kill stays dead; one that finished has won',
    async database => {
      const lab = await openLab(database);
      const outcomes = [];
      for (const outcome of ['failed', 'returned', 'finished'] as const) {
        const [jobId] = await submit(lab, {});
        const pilot = await newPilot(lab);
        const lease = await acquireLease(lab, pilot);
        await killJob(lab.context, alice, newId(), jobId!, body('killJob', {}));
        outcomes.push((await complete(lab, pilot, lease, { outcome })).jobState);
      }
      assert.deepEqual(outcomes, ['cancelled', 'cancelled', 'finished']);
    },
  );

  databaseTest('submitters kill their own jobs, shifters those of their VO, others none', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const kill = (caller: typeof alice) => killJob(lab.context, caller, newId(), jobId!, body('killJob', {}));
    await assert.rejects(kill(member('bob', ['submitter'])), {
      code: 'E_NOT_ALLOWED',
      rule: /submitter-kills-own/,
    });
    await assert.rejects(kill(member('mallory', ['admin', 'shifter'], ['biology'])), {
      code: 'E_NOT_FOUND',
      rule: 'vo-isolation',
    });
    await assert.rejects(killJob(lab.context, alice, newId(), newId(), body('killJob', {})), {
      code: 'E_NOT_FOUND',
    });
    assert.equal((await kill(shifter)).state, 'cancelled');
  });

  databaseTest('commands reach the running attempt only', async database => {
    const lab = await openLab(database);
    const [jobId] = await submit(lab, {});
    const command = (verb: 'kill' | 'report-now') =>
      commandJob(lab.context, shifter, newId(), jobId!, body('commandJob', { verb }));
    await assert.rejects(command('report-now'), { code: 'E_PRECONDITION' });
    const pilot = await newPilot(lab);
    const lease = await acquireLease(lab, pilot);
    const { commandId } = await command('report-now');
    assert.equal((await command('report-now')).commandId, commandId, 'what waits is not queued again');
    const killId = (await command('kill')).commandId;
    assert.equal((await command('kill')).commandId, killId);
    const { commands } = await beat(lab, pilot, lease);
    assert.deepEqual(
      commands.map(({ id, verb }) => [id, verb]),
      [
        [commandId, 'report-now'],
        [killId, 'kill'],
      ],
    );
    await complete(lab, pilot, lease, { outcome: 'cancelled' });
    assert.equal(await stateOf(lab, jobId!), 'cancelled');
    await assert.rejects(killJob(lab.context, shifter, newId(), newId(), body('killJob', {})), {
      code: 'E_NOT_FOUND',
    });
  });
});
