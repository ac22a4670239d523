import { test } from 'node:test';
import assert from 'node:assert/strict';
import { newId } from '../../lib/ids.ts';
import { waitForJobs } from '../../ops/client/wait.ts';
import { QUEUE, VO } from '../../ops/site/start.ts';
import { startLabSite } from '../lab/site.ts';
import { startUnreliableFront } from '../lab/unreliable-front.ts';
import type { UnreliableFront } from '../lab/unreliable-front.ts';

test('replies lost on the way (enrol, acquire, heartbeat, complete) neither lose nor double a job', async t => {
  let front: UnreliableFront | undefined;
  const site = await startLabSite({
    front: async serverUrl => {
      front = await startUnreliableFront({ serverUrl, loseEvery: 3, seed: 7 });
      return front.url;
    },
  });
  t.after(async () => {
    await site.stop();
    await front?.close();
  });
  const submitter = await site.client('submitter');
  const { jobs } = await submitter.call('submit', {
    body: {
      jobs: Array.from({ length: 12 }, (_, index) => ({
        jobId: newId(),
        definition: { name: `lossy-${index}`, vo: VO, queue: QUEUE, command: ['sh', '-c', 'echo once'] },
      })),
    },
  });
  const reports = await waitForJobs(
    submitter,
    jobs.map(({ jobId }) => jobId),
    { deadlineSeconds: 120 },
  );
  for (const report of reports.values()) {
    assert.equal(report.job.state, 'finished', `${report.job.name}: ${JSON.stringify(report.job.cause)}`);
    assert.equal(report.attempts.length, 1, `${report.job.name} was run once`);
    assert.equal(report.events.filter(({ to }) => to === 'finished').length, 1);
  }
  assert.ok(front!.cut >= 5, `the front lost ${front!.cut} replies`);
});
