import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { pinOf } from '../../../codecache/pin.ts';
import { fetchTarget } from '../../../codecache/client/fetch-target.ts';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { silentLog } from '../../../lib/log.ts';
import type { Bootstrap } from '../../../lib/protocol/release.ts';
import { buildBundle } from '../../../signing/trust/build-bundle.ts';
import { stageBundle } from '../../../signing/trust/publish-bundle.ts';
import { makeGridAuthority } from '../../lab/grid-authority.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory, temporaryDirectory } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { startTlsSite, takeSubmission } from '../server/tls-site.ts';
import { PilotProcess, pilotBundle } from './pilot-process.ts';

let entry: string;
before(async () => {
  entry = await pilotBundle((await makeTemporaryDirectory('bundle')).path);
});

/** A store that may have a trust bundle, a server, and pilots on nodes without authorities. */
async function open(t: TestContext) {
  const directory = await temporaryDirectory(t, 'anchors');
  const repository = await makeReleaseRepository({ directory });
  const store = await serveStore({
    directory: repository.publicDirectory,
    listen: '127.0.0.1:0',
    log: silentLog,
  });
  t.after(() => store.close());
  const authority = await makeGridAuthority({ directory: join(directory, 'site') });
  const nodeStore = join(directory, 'node-store');
  const publish = async () => {
    const out = join(directory, 'bundle.tar.gz');
    await buildBundle({ certificates: authority.certificates, out, builtAtMs: Date.now() });
    const staged = await stageBundle({ ...repository.context, bundle: out });
    await repository.publish();
    return staged;
  };
  return { directory, repository, store, authority, nodeStore, publish };
}

async function startPilot(
  t: TestContext,
  lab: Awaited<ReturnType<typeof open>>,
  agent: Bootstrap['agent'],
  caches = [lab.store.url],
) {
  const site = await startTlsSite(t, { heartbeatSeconds: 0.2, retrySeconds: 0.1 });
  const alice = site.client(site.users.alice);
  const { submissionId, secret } = await takeSubmission(site);
  const submit = async (command: string) => {
    const definition = { vo: 'physics', queue: 'q1', command: ['sh', '-c', command] };
    return (await alice.call('submit', { body: { jobs: [{ definition }] } })).jobs[0]!.jobId;
  };
  const start = async () => {
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
        agent: { idleSeconds: 0, waitSeconds: 0, sampleMs: 50, recheckSeconds: 1, ...agent },
      },
      { entry, rootJson: lab.repository.rootJson, env: { PILOTAGE_STORE: lab.nodeStore } },
    );
    t.after(() => pilot[Symbol.asyncDispose]());
    return pilot;
  };
  return { submit, start, logs: (jobId: string) => alice.call('jobLogs', { params: { jobId } }) };
}

describe('trust anchors on a bare node', { concurrency: true }, () => {
  test('come signed from the store; a running payload sees them renewed', async t => {
    const lab = await open(t);
    const bad = await lab.authority.issue('bad');
    const { sha256 } = await lab.publish();
    const { submit, start, logs } = await startPilot(t, lab, { trust: 'bundle' });
    const verify = `openssl verify -CApath "$X509_CERT_DIR" -no-CAfile -crl_check ${bad} 2>&1`;
    const jobId = await submit(
      `${verify} && ls -d "$X509_VOMS_DIR" && until ${verify} | grep 'certificate revoked'; do sleep 0.1; done`,
    );
    const pilot = await start();
    await waitUntil('it is good', async () => (await logs(jobId)).stdout.includes('bad.pem: OK'), {
      seconds: 30,
    });
    assert.ok(existsSync(join(pilot.sandbox, 'trust', 'versions', sha256)));
    lab.authority.revoke(bad);
    await lab.publish();
    const checked = join(lab.nodeStore, 'metadata', pinOf(lab.repository.rootJson), 'checked');
    await waitUntil(
      'the payload sees that it is not',
      async () => {
        await rm(checked, { force: true });
        return (await logs(jobId)).stdout.includes('certificate revoked');
      },
      { seconds: 30 },
    );
    assert.equal(await pilot.ended, 0, pilot.stderr);
    assert.equal(pilot.summary.finished, 1);
  });

  test('that a silent cache withholds keep no pilot from leaving when it is told to', async t => {
    const lab = await open(t);
    let asked = false;
    const silent = createServer(() => (asked = true));
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    t.after(() => {
      silent.closeAllConnections();
      silent.close();
    });
    const { port } = silent.address() as AddressInfo;
    const { start } = await startPilot(t, lab, { trust: 'bundle' }, [`http://127.0.0.1:${port}`]);
    const pilot = await start();
    await waitUntil('the cache is asked', () => asked, { seconds: 20 });
    pilot.child.kill('SIGTERM');
    await waitUntil('it ends', () => pilot.child.exitCode !== null, { seconds: 10 });
    await pilot.ended;
    assert.equal(pilot.summary.reason, 'terminated');
  });

  test('that nobody signed keep only those from work who must have them', async t => {
    const lab = await open(t);
    const must = await startPilot(t, lab, { trust: 'bundle' });
    const without = await must.start();
    assert.equal(await without.ended, 6, without.stderr);
    assert.equal(without.summary.reason, 'unfit');
    const may = await startPilot(t, lab, { trust: 'prefer-site' });
    const jobId = await may.submit('echo "certificates: $X509_CERT_DIR."');
    const pilot = await may.start();
    assert.equal(await pilot.ended, 0, pilot.stderr);
    assert.equal((await may.logs(jobId)).stdout, 'certificates: .\n');
  });

  test('are fetched once per node, and what no role signs is not there', async t => {
    const lab = await open(t);
    const { sha256 } = await lab.publish();
    const options = {
      trustedRoot: lab.repository.rootJson,
      storeDirectory: lab.nodeStore,
      caches: [lab.store.url],
      queue: 'q1',
    };
    const first = await fetchTarget({ ...options, path: 'trust/bundle.tar.gz' });
    assert.deepEqual([first!.sha256, first!.cache], [sha256, lab.store.url]);
    await lab.store.close();
    const again = await fetchTarget({ ...options, path: 'trust/bundle.tar.gz' });
    assert.deepEqual([again!.sha256, again!.cache], [sha256, 'local']);
    assert.equal(await fetchTarget({ ...options, path: 'trust/other.tar.gz' }), null);
  });
});
