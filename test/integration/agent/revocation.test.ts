import assert from 'node:assert/strict';
import { cp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { pinOf } from '../../../codecache/pin.ts';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { silentLog } from '../../../lib/log.ts';
import type { Bootstrap, VerifiedRelease } from '../../../lib/protocol/release.ts';
import { revoke } from '../../../signing/release/channels/revoke.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { startTlsSite, takeSubmission } from '../server/tls-site.ts';
import { PilotProcess, pilotBundle } from './pilot-process.ts';

let entry: string;
let scratch: Awaited<ReturnType<typeof makeTemporaryDirectory>>;
before(async () => {
  scratch = await makeTemporaryDirectory('bundle');
  entry = await pilotBundle(scratch.path);
});
after(() => scratch.remove());

const NOWHERE = 'http://127.0.0.1:9';

/** Store, server and pilots of release 1.0.0, which the store may revoke. */
async function open(t: TestContext, options: { serverReads: boolean }) {
  const site = await startTlsSiteWithStore(t, options.serverReads);
  const alice = site.client(site.users.alice);
  const pilots: PilotProcess[] = [];
  t.after(() => Promise.all(pilots.map(pilot => pilot[Symbol.asyncDispose]())));
  return {
    ...site,
    /** As release managers do it. */
    revoke: async (how: { kill?: boolean } = {}) => {
      await revoke({ ...site.repository.context, version: '1.0.0', ...how });
      await site.repository.publish();
    },
    submit: async (command: string) => {
      const definition = { vo: 'physics', queue: 'q1', command: ['sh', '-c', command], maxAttempts: 1 };
      return (await alice.call('submit', { body: { jobs: [{ definition }] } })).jobs[0]!.jobId;
    },
    /** Waits for a line of the pilot's log; every look of it goes to the caches, as if the last had been long ago. */
    hears: (pilot: PilotProcess, line: string) =>
      waitUntil(`the pilot says "${line}"`, async () => {
        await rm(join(site.nodeStore, 'metadata', pinOf(site.repository.rootJson), 'checked'), {
          force: true,
        });
        return pilot.stderr.includes(line);
      }),
    show: (jobId: string) => alice.call('showJob', { params: { jobId } }),
    runs: (jobId: string) =>
      waitUntil('the payload runs', async () =>
        (await alice.call('jobLogs', { params: { jobId } })).stdout.includes('up'),
      ),
    pilot: async (caches: string[], agent: Bootstrap['agent'] = {}) => {
      const { submissionId, secret } = await takeSubmission(site);
      const pilot = await PilotProcess.start(
        {
          schema: 1,
          instance: 'lab',
          queue: 'q1',
          submissionId,
          secret,
          servers: [site.server.url],
          serverCa: site.ca,
          caches,
          site: 'none',
          floors: null,
          agent: { idleSeconds: 20, waitSeconds: 5, killGraceSeconds: 1, sampleMs: 50, ...agent },
        },
        {
          entry,
          verified: site.verified,
          rootJson: site.repository.rootJson,
          env: { PILOTAGE_STORE: site.nodeStore },
        },
      );
      pilots.push(pilot);
      return pilot;
    },
  };
}

async function startTlsSiteWithStore(t: TestContext, serverReads: boolean) {
  const directory = (await makeTemporaryDirectory('revocation')).path;
  const repository = await makeReleaseRepository({ directory });
  const store = await serveStore({
    directory: repository.publicDirectory,
    listen: '127.0.0.1:0',
    log: silentLog,
  });
  t.after(() => store.close());
  const rootFile = join(repository.publicDirectory, 'metadata', '1.root.json');
  const site = await startTlsSite(t, {
    heartbeatSeconds: 0.2,
    retrySeconds: 0.1,
    ...(serverReads && { store: { url: store.url, rootFile, refreshSeconds: 0.1 } }),
  });
  const verified: VerifiedRelease = {
    release: {
      name: 'pilotage-pilot',
      version: '1.0.0',
      sha256: 'a'.repeat(64),
      channel: 'stable',
      channelSerial: 1,
      metadata: { root: 1, timestamp: 1, snapshot: 1 },
    },
    cache: 'local',
    bootstrapMs: 1,
  };
  return { ...site, repository, store, verified, nodeStore: join(directory, 'node-store') };
}

describe('a pilot whose release is revoked', { concurrency: true }, () => {
  test('hears it from the store: it finishes its payload, takes no other and leaves', async t => {
    const site = await open(t, { serverReads: false });
    const running = await site.submit('echo up; while [ ! -e go ]; do sleep 0.1; done');
    const pilot = await site.pilot([site.store.url], { recheckSeconds: 1 });
    await site.runs(running);
    await site.revoke();
    await site.hears(pilot, 'was withdrawn: it takes no more jobs');
    const waiting = await site.submit('true');
    assert.equal((await site.show(running)).job.state, 'running');
    const { attempts } = await site.show(running);
    const work = join(pilot.sandbox, 'jobs', attempts[0]!.attemptId, 'work');
    await cp('/dev/null', join(work, 'go'));
    assert.equal(await pilot.ended, 0, pilot.stderr);
    assert.deepEqual([pilot.summary.reason, pilot.summary.finished, pilot.summary.jobs], ['revoked', 1, 1]);
    assert.equal((await site.show(waiting)).job.state, 'activated');
    const [row] = await site.server.context.database.db.selectFrom('pilot').selectAll().execute();
    assert.deepEqual([row!.state, row!.end_reason], ['left', 'revoked']);
  });

  test('hears from the store that it was killed: its payload ends, and the job is run again', async t => {
    const site = await open(t, { serverReads: false });
    const jobId = await site.submit('[ $PILOTAGE_ATTEMPT_NUMBER = 2 ] || { echo up; sleep 60; }');
    const pilot = await site.pilot([NOWHERE, site.store.url], { recheckSeconds: 1 });
    await site.runs(jobId);
    await site.revoke({ kill: true });
    await site.hears(pilot, 'was killed');
    assert.equal(await pilot.ended, 0, pilot.stderr);
    assert.deepEqual([pilot.summary.reason, pilot.summary.failed], ['revoked', 1]);
    const { job, attempts } = await site.show(jobId);
    assert.deepEqual([job.state, attempts[0]!.cause?.code], ['activated', 'RELEASE_REVOKED']);
  });

  test('hears it from the server, though every cache is silent', async t => {
    const site = await open(t, { serverReads: true });
    const pilot = await site.pilot([NOWHERE], { recheckSeconds: 1 });
    const first = await site.submit('true');
    await waitUntil('a job is done', async () => (await site.show(first)).job.state === 'finished');
    await site.hears(pilot, 'could not be asked');
    const jobId = await site.submit('echo up; sleep 60');
    await site.runs(jobId);
    await site.revoke({ kill: true });
    assert.equal(await pilot.ended, 0, pilot.stderr);
    assert.deepEqual([pilot.summary.reason, pilot.summary.finished], ['revoked', 1]);
    const { job, attempts } = await site.show(jobId);
    assert.deepEqual([job.state, attempts[0]!.cause?.code], ['activated', 'RELEASE_REVOKED']);
  });

  test('is told with its next request for a job, while it waits for one', async t => {
    const site = await open(t, { serverReads: true });
    const pilot = await site.pilot([NOWHERE], { waitSeconds: 0.2 });
    await waitUntil('it has enrolled', () => pilot.stderr.includes('"enrolled"'));
    await site.revoke();
    assert.equal(await pilot.ended, 0, pilot.stderr);
    assert.deepEqual([pilot.summary.reason, pilot.summary.jobs], ['revoked', 0]);
  });

  test('cannot enrol where a cache withholds the revocation: the server knows', async t => {
    const site = await open(t, { serverReads: true });
    const old = join(site.directory, 'withheld');
    await cp(site.repository.publicDirectory, old, { recursive: true });
    const cache = await serveStore({ directory: old, listen: '127.0.0.1:0', log: silentLog });
    t.after(() => cache.close());
    await site.revoke();
    await waitUntil(
      'the server knows',
      () => site.server.context.releases.judge('1.0.0', 'q1') === 'withdrawn',
    );
    const pilot = await site.pilot([cache.url]);
    assert.equal(await pilot.ended, 5, pilot.stderr);
    assert.match(pilot.stderr, /E_RELEASE_REVOKED/);
    assert.deepEqual([pilot.summary.reason, pilot.summary.pilotId], ['refused', null]);
    const pointer = await readFile(join(site.repository.publicDirectory, 'metadata', 'timestamp.json'));
    assert.notDeepEqual(await readFile(join(old, 'metadata', 'timestamp.json')), pointer);
  });
});
