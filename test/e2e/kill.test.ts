import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ApiClient } from '../../lib/api-client.ts';
import { newId } from '../../lib/ids.ts';
import type { JobDefinitionInput } from '../../lib/protocol/job.ts';
import { waitForJobs } from '../../ops/client/wait.ts';
import type { JobReport } from '../../ops/client/wait.ts';
import { QUEUE, VO, maxPilots } from '../../ops/site/start.ts';
import { startLabSite } from '../lab/site.ts';
import type { LabSite } from '../lab/site.ts';
import { waitUntil } from '../lab/wait-until.ts';

let site: LabSite;
let submitter: ApiClient;
let watch: ReturnType<typeof watchCap>;

before(async () => {
  site = await startLabSite();
  submitter = await site.client('submitter');
  watch = watchCap(await site.client('autopilot'));
});
after(async () => {
  const highest = await watch?.stop();
  await site?.stop();
  if (highest !== undefined)
    assert.ok(highest <= maxPilots(), `${highest} pilots worked at one time, the cap is ${maxPilots()}`);
});

/** Counts working pilots, as the server knows them, all along. */
function watchCap(client: ApiClient) {
  let highest = 0;
  let samples = 0;
  const stopping = new AbortController();
  const run = (async () => {
    while (!stopping.signal.aborted) {
      try {
        const { pilotsIdle, pilotsBusy } = await client.call('demand', {
          params: { queue: QUEUE },
          patienceSeconds: 0,
          timeoutSeconds: 2,
        });
        highest = Math.max(highest, pilotsIdle + pilotsBusy);
        samples += 1;
      } catch {
        // The server is down just now: that is what these tests do to it.
      }
      await new Promise(resolve => {
        setTimeout(resolve, 100);
      });
    }
  })();
  return {
    async stop() {
      stopping.abort();
      await run;
      assert.ok(samples > 20, 'the cap was watched');
      return highest;
    },
  };
}

const marks = (name: string) => join(site.layout.root, `${name}.marks`);

/** A job that notes each start of its payload, works for some seconds, and makes one output. */
function markedJob(name: string, seconds: number): JobDefinitionInput {
  return {
    name,
    vo: VO,
    queue: QUEUE,
    command: [
      'sh',
      '-c',
      `echo $$ >> '${marks(name)}'; sleep ${seconds}; echo "$PILOTAGE_ATTEMPT" > out.txt`,
    ],
    outputs: [{ name: 'out.txt' }],
    outputUrl: `file://${site.layout.outputs}`,
    limits: { wallSeconds: 60 },
  };
}

async function submit(definitions: JobDefinitionInput[]): Promise<string[]> {
  const { jobs } = await submitter.call('submit', {
    body: { jobs: definitions.map(definition => ({ jobId: newId(), definition })) },
  });
  return jobs.map(({ jobId }) => jobId);
}

const startedPids = async (name: string): Promise<number[]> =>
  existsSync(marks(name)) ? (await readFile(marks(name), 'utf8')).trim().split('\n').map(Number) : [];

const isRunning = (jobId: string) => async () =>
  (await submitter.call('showJob', { params: { jobId } })).job.state === 'running';

async function assertAcceptedOnce(report: JobReport): Promise<void> {
  assert.equal(report.job.state, 'finished', JSON.stringify(report.job.cause));
  const accepted = report.attempts.filter(({ attemptId }) => attemptId === report.job.acceptedAttemptId);
  assert.equal(accepted.length, 1);
  assert.equal(accepted[0]!.outputs.length, 1);
  assert.equal(report.attempts.filter(({ state }) => state === 'finished').length, 1);
  assert.equal(report.events.filter(({ to }) => to === 'finished').length, 1);
}

test('kill -9 of the pilot: its payload ends with it, and the job ends accepted exactly once', async () => {
  const [jobId] = await submit([markedJob('pilot-killed', 4)]);
  await waitUntil('the job runs', isRunning(jobId!), { seconds: 40 });
  await waitUntil('the payload has started', async () => (await startedPids('pilot-killed')).length === 1);
  const [payload] = await startedPids('pilot-killed');
  for (const pid of await site.agentPids()) process.kill(pid, 'SIGKILL');
  await waitUntil('the payload is gone', async () => !existsSync(`/proc/${payload}`), { seconds: 5 });
  const reports = await waitForJobs(submitter, [jobId!], { deadlineSeconds: 60 });
  const report = reports.get(jobId!)!;
  await assertAcceptedOnce(report);
  assert.deepEqual(
    report.attempts.map(({ state }) => state),
    ['lost', 'finished'],
  );
  assert.equal((await startedPids('pilot-killed')).length, 2);
});

test('kill -9 of the server: the payload goes on, and its result is accepted by the server that comes back', async () => {
  const [jobId] = await submit([markedJob('server-killed', 4)]);
  await waitUntil('the job runs', isRunning(jobId!), { seconds: 40 });
  process.kill(site.pidOf('server'), 'SIGKILL');
  const reports = await waitForJobs(submitter, [jobId!], { deadlineSeconds: 60 });
  const report = reports.get(jobId!)!;
  await assertAcceptedOnce(report);
  assert.equal(report.attempts.length, 1, 'the outage of the server cost no attempt');
  assert.equal((await startedPids('server-killed')).length, 1);
});

test('kill -9 of the autopilot, again and again: no pilot lost or doubled, every job accepted once', async () => {
  const names = Array.from({ length: 6 }, (_, index) => `autopilot-killed-${index}`);
  const jobIds = await submit(names.map(name => markedJob(name, 1)));
  for (let kill = 0; kill < 3; kill += 1) {
    const pid = site.pidOf('autopilot');
    process.kill(pid, 'SIGKILL');
    await waitUntil('the autopilot is back', () => site.pidOf('autopilot') !== pid, { seconds: 20 });
  }
  const reports = await waitForJobs(submitter, jobIds, { deadlineSeconds: 90 });
  for (const [index, jobId] of jobIds.entries()) {
    await assertAcceptedOnce(reports.get(jobId)!);
    assert.equal((await startedPids(names[index]!)).length, 1, `${names[index]} ran once`);
  }
});
