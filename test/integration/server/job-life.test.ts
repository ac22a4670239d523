import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { newKey } from '../../../signing/x509/authority.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { startLossyRelay } from './lossy-relay.ts';
import {
  acquireLease,
  acquireRequest,
  completion,
  enrolRequest,
  job,
  newPilot,
  pemOf,
  startTlsSite,
  takeSubmission,
} from './tls-site.ts';

describe('the life of a job over real TLS', () => {
  test('lost replies to submit, enrol, acquire and complete have one effect each', async t => {
    const site = await startTlsSite(t);
    const relay = await startLossyRelay(t, site.server.url);
    const alice = site.client(site.users.alice, relay.url);
    await alice.call('listJobs');
    relay.loseNextReply();
    const { jobs } = await alice.call('submit', { body: job() });
    assert.deepEqual(
      (await alice.call('listJobs')).jobs.map(({ jobId }) => jobId),
      [jobs[0]!.jobId],
    );
    const factory = site.client(site.users.factory, relay.url);
    await factory.call('demand', { params: { queue: 'q1' } });
    relay.loseNextReply();
    const { submissions } = await factory.call('createSubmissions', {
      params: { queue: 'q1' },
      body: { factory: 'f1', count: 2 },
    });
    const listed = await factory.call('listSubmissions', {
      params: { queue: 'q1' },
      query: { factory: 'f1' },
    });
    assert.equal(listed.submissions.length, 2);
    const stranger = site.client(undefined, relay.url);
    await stranger.call('floors');
    relay.loseNextReply();
    const key = newKey();
    const enrolled = await stranger.call('enrol', { body: enrolRequest(submissions[0]!, key) });
    const pilot = site.client({ cert: enrolled.certificateChain, key: pemOf(key), dn: 'pilot' }, relay.url);
    await pilot.call('floors');
    relay.loseNextReply();
    const { lease } = await pilot.call('acquire', { body: acquireRequest() });
    assert.equal(lease?.attemptNumber, 1);
    relay.loseNextReply();
    const done = await pilot.call('complete', {
      params: { attemptId: lease.attemptId },
      body: completion(lease),
    });
    assert.deepEqual([done.accepted, done.jobState], [true, 'finished']);
    assert.equal(relay.lost(), 5);
    const shown = await alice.call('showJob', { params: { jobId: lease.jobId } });
    assert.deepEqual([shown.attempts.length, shown.job.acceptedAttemptId], [1, lease.attemptId]);
    const demand = await factory.call('demand', { params: { queue: 'q1' } });
    assert.deepEqual([demand.pilotsIdle, demand.submissionsOpen], [1, 1]);
  });

  test('a kill reaches the pilot with its heartbeat', async t => {
    const site = await startTlsSite(t);
    const alice = site.client(site.users.alice);
    const { jobs } = await alice.call('submit', { body: job() });
    const { client } = await newPilot(site);
    const lease = await acquireLease(client);
    const params = { attemptId: lease.attemptId };
    await alice.call('killJob', { params: { jobId: jobs[0]!.jobId }, body: { reason: 'enough' } });
    const { commands } = await client.call('heartbeat', {
      params,
      body: { incarnation: lease.incarnation, state: 'running' },
    });
    assert.deepEqual(
      commands.map(({ verb, reason }) => [verb, reason]),
      [['kill', 'enough']],
    );
    const cause = { code: 'KILLED', text: 'told to' };
    const body = completion(lease, { outcome: 'cancelled', cause });
    assert.equal((await client.call('complete', { params, body })).jobState, 'cancelled');
  });

  test('a silent attempt expires by itself and its job runs elsewhere', async t => {
    const site = await startTlsSite(t, { leaseSeconds: 0.6, sweepSeconds: 0.1, heartbeatSeconds: 0.2 });
    const alice = site.client(site.users.alice);
    const { jobs } = await alice.call('submit', { body: job() });
    const params = { jobId: jobs[0]!.jobId };
    const first = await newPilot(site);
    const lost = await acquireLease(first.client);
    await waitUntil('the job waits again', async () => {
      const shown = await alice.call('showJob', { params });
      return shown.job.state === 'activated';
    });
    const second = await newPilot(site);
    const lease = await acquireLease(second.client);
    assert.equal(lease.attemptNumber, 2);
    await assert.rejects(
      first.client.call('heartbeat', {
        params: { attemptId: lost.attemptId },
        body: { incarnation: lost.incarnation, state: 'running' },
      }),
      { code: 'E_FENCED' },
    );
    await second.client.call('complete', {
      params: { attemptId: lease.attemptId },
      body: completion(lease),
    });
    assert.equal((await alice.call('showJob', { params })).job.state, 'finished');
  });

  test('servers are interchangeable: another one for each call, on one database', async t => {
    const site = await startTlsSite(t);
    const another = await site.startAnother();
    const { jobs } = await site.client(site.users.alice).call('submit', { body: job() });
    const submission = await takeSubmission(site);
    const key = newKey();
    const { certificateChain } = await site
      .client(undefined, another.url)
      .call('enrol', { body: enrolRequest(submission, key) });
    const identity = { cert: certificateChain, key: pemOf(key), dn: 'pilot' };
    const [here, there] = [site.client(identity), site.client(identity, another.url)];
    const lease = await acquireLease(here);
    assert.equal(lease.jobId, jobs[0]!.jobId);
    const params = { attemptId: lease.attemptId };
    await there.call('heartbeat', { params, body: { incarnation: lease.incarnation, state: 'running' } });
    await here.call('complete', { params, body: completion(lease) });
    const waiting = there.call('acquire', { body: acquireRequest(15) });
    const late = await site.client(site.users.alice).call('submit', { body: job() });
    assert.equal((await waiting).lease?.jobId, late.jobs[0]!.jobId);
  });
});
