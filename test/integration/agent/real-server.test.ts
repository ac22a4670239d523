import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import { definitionSha256 } from '../../../agent/receipt.ts';
import type { JobDefinitionInput } from '../../../lib/protocol/job.ts';
import type { Bootstrap } from '../../../lib/protocol/release.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { startTlsSite, takeSubmission } from '../server/tls-site.ts';
import type { ServerSettings, TlsSite } from '../server/tls-site.ts';
import { PilotProcess, pilotBundle, verified } from './pilot-process.ts';

let entry: string;
let scratch: Awaited<ReturnType<typeof makeTemporaryDirectory>>;
before(async () => {
  scratch = await makeTemporaryDirectory('bundle');
  entry = await pilotBundle(scratch.path);
});
after(() => scratch.remove());

/** A site with the real server, and what a test does on it. */
async function open(t: TestContext, settings: ServerSettings = {}) {
  const site: TlsSite = await startTlsSite(t, { heartbeatSeconds: 0.3, retrySeconds: 0.1, ...settings });
  const alice = site.client(site.users.alice);
  return {
    site,
    alice,
    submit: async (definition: Partial<JobDefinitionInput>) => {
      const { jobs } = await alice.call('submit', {
        body: { jobs: [{ definition: { vo: 'physics', queue: 'q1', command: ['true'], ...definition } }] },
      });
      return jobs[0]!.jobId;
    },
    show: (jobId: string) => alice.call('showJob', { params: { jobId } }),
    pilot: async (agent: Bootstrap['agent'] = {}) => {
      const submission = await takeSubmission(site);
      return PilotProcess.start(
        {
          schema: 1,
          instance: 'lab',
          queue: 'q1',
          submissionId: submission.submissionId,
          secret: submission.secret,
          servers: [site.server.url],
          serverCa: site.ca,
          caches: ['http://127.0.0.1:9'],
          site: 'none',
          floors: null,
          agent: { idleSeconds: 0, waitSeconds: 0, killGraceSeconds: 1, sampleMs: 50, ...agent },
        },
        { entry },
      );
    },
  };
}

describe('a pilot and the real server', () => {
  test('input, output, log, release and receipt of a job are at the server', async t => {
    const { site, alice, submit, show, pilot } = await open(t);
    await writeFile(join(site.directory, 'in'), 'forty-two');
    const sha256 = createHash('sha256').update('forty-two').digest('hex');
    const jobId = await submit({
      command: ['sh', '-c', 'echo begins; cat in > out; echo wrong >&2'],
      inputs: [{ name: 'in', url: pathToFileURL(join(site.directory, 'in')).href, sha256 }],
      outputs: [{ name: 'out' }],
      outputUrl: pathToFileURL(join(site.directory, 'store')).href,
    });
    await using process = await pilot();
    assert.equal(await process.ended, 0, process.stderr);
    const { job, attempts, definition } = await show(jobId);
    assert.equal(job.state, 'finished', JSON.stringify(job));
    assert.equal(attempts.length, 1);
    assert.deepEqual(attempts[0]!.release, verified.release);
    assert.equal(attempts[0]!.outputs[0]!.sha256, sha256);
    const { attemptId } = attempts[0]!;
    assert.equal(
      await readFile(join(site.directory, 'store', jobId, `1-${attemptId}`, 'out'), 'utf8'),
      'forty-two',
    );
    const logs = await alice.call('jobLogs', { params: { jobId } });
    assert.equal(logs.stdout, 'begins\n');
    assert.equal(logs.stderr, 'wrong\n');
    const { receipt } = await alice.call('showReceipt', { params: { attemptId } });
    assert.equal(receipt!.definitionSha256, definitionSha256(definition));
    assert.ok(receipt!.signature);
  });

  test('a payload may read its job with its own credential and submit nothing', async t => {
    const { site, alice, submit, show, pilot } = await open(t);
    const script = `
      const fs = require('fs'), https = require('https');
      const pem = fs.readFileSync(process.env.X509_USER_PROXY);
      const ca = fs.readFileSync(process.env.PILOTAGE_SERVER_CA);
      const body = JSON.stringify({ jobs: [{ definition: { vo: 'physics', queue: 'q1', command: ['true'] } }] });
      https.request(process.env.PILOTAGE_SERVERS + '/v1/jobs', {
        method: 'POST', cert: pem, key: pem, ca,
        headers: { 'content-type': 'application/json', 'idempotency-key': 'from-inside' },
      }, response => response.setEncoding('utf8').on('data', text => process.stdout.write(text))).end(body);`;
    const jobId = await submit({ command: [process.execPath, '-e', script] });
    await using agent = await pilot();
    assert.equal(await agent.ended, 0, agent.stderr);
    const { stdout } = await alice.call('jobLogs', { params: { jobId } });
    assert.match(stdout, /"E_PAYLOAD_CREDENTIAL"/);
    assert.equal((await show(jobId)).job.state, 'finished');
    assert.equal((await alice.call('listJobs')).jobs.length, 1, site.server.url);
  });

  test('kill by its owner reaches a running payload', async t => {
    const { alice, submit, show, pilot } = await open(t);
    const jobId = await submit({ command: ['sh', '-c', 'echo up; sleep 60'] });
    await using agent = await pilot();
    await waitUntil('the job runs', async () => (await show(jobId)).job.state === 'running');
    await waitUntil('its tail is seen', async () =>
      (await alice.call('jobLogs', { params: { jobId } })).stdout.includes('up'),
    );
    await alice.call('killJob', { params: { jobId }, body: { reason: 'no longer needed' } });
    assert.equal(await agent.ended, 0, agent.stderr);
    const { job } = await show(jobId);
    assert.equal(job.state, 'cancelled');
    assert.equal(job.cause?.code, 'KILLED');
  });

  test('SIGTERM hands a job back, and the next pilot finishes it', async t => {
    const { submit, show, pilot } = await open(t);
    const jobId = await submit({ command: ['sh', '-c', '[ $PILOTAGE_ATTEMPT_NUMBER = 2 ] || sleep 60'] });
    await using first = await pilot();
    await waitUntil('the job runs', async () => (await show(jobId)).job.state === 'running');
    first.child.kill('SIGTERM');
    assert.equal(await first.ended, 0, first.stderr);
    assert.equal((await show(jobId)).job.state, 'activated');
    await using second = await pilot();
    assert.equal(await second.ended, 0, second.stderr);
    const { job, attempts } = await show(jobId);
    assert.equal(job.state, 'finished');
    assert.deepEqual(attempts.map(({ attemptNumber, state }) => `${attemptNumber} ${state}`).toSorted(), [
      '1 returned',
      '2 finished',
    ]);
  });

  test('kill -9 in mid-job: the lease runs out and another pilot finishes the job, accepted once', async t => {
    const { submit, show, pilot } = await open(t, {
      leaseSeconds: 1.5,
      sweepSeconds: 0.2,
      pilotLeaseSeconds: 1.5,
    });
    const jobId = await submit({ command: ['sh', '-c', '[ $PILOTAGE_ATTEMPT_NUMBER = 2 ] || sleep 60'] });
    await using first = await pilot();
    await waitUntil('the job runs', async () => (await show(jobId)).job.state === 'running');
    first.child.kill('SIGKILL');
    await first.ended;
    const group = Number(await readFile(join(first.sandbox, 'payload.pgid'), 'utf8'));
    process.kill(-group, 'SIGKILL');
    await waitUntil('it waits again', async () => (await show(jobId)).job.state === 'activated');
    await using second = await pilot();
    assert.equal(await second.ended, 0, second.stderr);
    const { job, attempts } = await show(jobId);
    assert.equal(job.state, 'finished');
    assert.deepEqual(attempts.map(({ state }) => state).toSorted(), ['finished', 'lost']);
    assert.equal(job.acceptedAttemptId, attempts.find(({ state }) => state === 'finished')!.attemptId);
  });
});
