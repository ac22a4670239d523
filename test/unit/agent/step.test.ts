import assert from 'node:assert/strict';
import { test } from 'node:test';
import { causeOf } from '../../../agent/errors.ts';
import { runStep } from '../../../agent/step.ts';
import { within } from '../../../agent/deadline.ts';
import { systemClock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';

const options = { clock: systemClock, log: silentLog };

test('a step that is stuck is left after its time, and told through its signal', async () => {
  let aborted = false;
  const stuck = runStep('stage-in', { ...options, maxSeconds: 0.03 }, signal => {
    signal.addEventListener('abort', () => (aborted = true));
    return new Promise(() => undefined);
  });
  const error: unknown = await stuck.catch((caught: unknown) => caught);
  assert.equal((error as { code: string }).code, 'E_STEP_STUCK');
  assert.ok(aborted);
  assert.equal(causeOf(error).code, 'STAGE_IN_FAILED');
});

test('a step gives what it gives, or throws what it throws, and leaves no timer', async () => {
  const before = process.getActiveResourcesInfo().filter(name => name === 'Timeout').length;
  assert.equal(await runStep('x', { ...options, maxSeconds: 1000 }, async () => 7), 7);
  await assert.rejects(
    runStep('x', { ...options, maxSeconds: 1000 }, async () => {
      throw new Error('own');
    }),
    { message: 'own' },
  );
  assert.equal(await within(new Promise(() => undefined), 5, systemClock), undefined);
  assert.equal(await within(Promise.resolve('in time'), 100_000, systemClock), 'in time');
  assert.equal(process.getActiveResourcesInfo().filter(name => name === 'Timeout').length, before);
});
