import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { newKey } from '../../../signing/x509/authority.ts';
import { createDevAuthority } from '../../../signing/x509/dev-authority.ts';
import { splitPem } from '../../../signing/x509/pem.ts';
import { createProxy } from '../../../signing/x509/proxy.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { acquireLease, csrFor, job, newPilot, pemOf, startTlsSite, userOf } from './tls-site.ts';
import type { Identity, LivePilot, TlsSite } from './tls-site.ts';

/** A proxy made from an identity, with a key of its own. */
async function proxyOf(
  identity: Identity,
  options: { limited?: boolean; nowMs?: number; validSeconds?: number } = {},
): Promise<Identity> {
  const { chainPem, privateKey } = await createProxy({
    issuerChain: splitPem(identity.cert, 'identity'),
    issuerKey: createPrivateKey(identity.key),
    validSeconds: 3600,
    ...options,
  });
  return { cert: chainPem, key: pemOf(privateKey!), dn: identity.dn };
}

describe('credentials over real TLS', () => {
  let site: TlsSite;
  let pilot: LivePilot;
  const cleanups: (() => Promise<void> | void)[] = [];
  before(async () => {
    site = await startTlsSite({ after: cleanup => void cleanups.push(cleanup) });
    pilot = await newPilot(site);
  });
  after(async () => {
    for (const cleanup of cleanups.toReversed()) await cleanup();
  });

  const submitAs = (identity?: Identity) => site.client(identity).call('submit', { body: job() });
  const audited = (code: string, rule: string) =>
    waitUntil(`the audit has ${code}`, async () => {
      const rows = await site.server.context.database.db.selectFrom('audit').selectAll().execute();
      return rows.find(row => row.code === code && row.rule === rule);
    });

  test('a pilot credential, and whatever is delegated from it, cannot submit', async () => {
    const identities = [
      pilot.identity,
      await proxyOf(pilot.identity),
      await proxyOf(await proxyOf(pilot.identity), { limited: true }),
    ];
    for (const identity of identities) {
      await assert.rejects(submitAs(identity), {
        code: 'E_PILOT_CREDENTIAL',
        rule: 'pilot-credential-only-works',
      });
    }
    const row = await audited('E_PILOT_CREDENTIAL', 'pilot-credential-only-works');
    assert.deepEqual(
      [row.caller, row.action, row.resource],
      [`pilot ${pilot.pilotId}`, 'submit', 'POST /v1/jobs'],
    );
    await assert.rejects(pilot.client.call('listJobs'), { code: 'E_PILOT_CREDENTIAL' });
  });

  test("a payload's credential reads its own job and does nothing else", async () => {
    const { jobs } = await site.client(site.users.alice).call('submit', { body: job() });
    const other = await site.client(site.users.alice).call('submit', { body: job({ priority: 1 }) });
    const lease = await acquireLease(pilot.client);
    assert.equal(lease.jobId, jobs[0]!.jobId);
    const key = newKey();
    const { certificateChain } = await pilot.client.call('payloadCredential', {
      params: { attemptId: lease.attemptId },
      body: { incarnation: lease.incarnation, csr: csrFor(key) },
    });
    const payload = { cert: certificateChain, key: pemOf(key), dn: 'payload' };
    for (const identity of [payload, await proxyOf(payload)]) {
      await assert.rejects(submitAs(identity), {
        code: 'E_PAYLOAD_CREDENTIAL',
        rule: 'payload-credential-only-reads-its-job',
      });
    }
    await audited('E_PAYLOAD_CREDENTIAL', 'payload-credential-only-reads-its-job');
    const client = site.client(payload);
    const { job: shown } = await client.call('showJob', { params: { jobId: lease.jobId } });
    assert.equal(shown.jobId, lease.jobId);
    await assert.rejects(client.call('showJob', { params: { jobId: other.jobs[0]!.jobId } }), {
      code: 'E_NOT_FOUND',
    });
    await assert.rejects(client.call('listJobs'), { code: 'E_PAYLOAD_CREDENTIAL' });
    await assert.rejects(client.call('killJob', { params: { jobId: lease.jobId }, body: {} }), {
      code: 'E_PAYLOAD_CREDENTIAL',
    });
    await assert.rejects(
      client.call('heartbeat', {
        params: { attemptId: lease.attemptId },
        body: { incarnation: lease.incarnation, state: 'running' },
      }),
      { code: 'E_PAYLOAD_CREDENTIAL' },
    );
  });

  test('limited proxies read but do not submit; full ones submit down to the depth of policy', async () => {
    const { alice } = site.users;
    const limited = await proxyOf(alice, { limited: true });
    await assert.rejects(submitAs(limited), {
      code: 'E_LIMITED_PROXY',
      rule: 'limited-proxy-changes-nothing',
    });
    assert.ok(Array.isArray((await site.client(limited).call('listJobs')).jobs));
    const one = await proxyOf(alice);
    const two = await proxyOf(one);
    const three = await proxyOf(two);
    assert.equal((await submitAs(two)).jobs.length, 1);
    await assert.rejects(submitAs(three), {
      code: 'E_DELEGATION_DEPTH',
      rule: 'delegation-depth-within-policy',
    });
  });

  test('no certificate, strangers, other authorities and other instances are refused', async t => {
    await assert.rejects(submitAs(), { code: 'E_NO_CERTIFICATE', rule: 'certificate-required' });
    await assert.rejects(submitAs(site.users.stranger), { code: 'E_NOT_IN_VO', rule: 'members-only' });
    await assert.rejects(submitAs(site.users.factory), { code: 'E_NOT_ALLOWED' });
    const elsewhere = await createDevAuthority({
      directory: await temporaryDirectory(t, 'elsewhere'),
      instance: 'lab',
    });
    const mallory = await userOf(elsewhere, 'alice');
    assert.equal(mallory.dn, site.users.alice.dn);
    await assert.rejects(submitAs(mallory), { code: 'E_CHAIN_UNTRUSTED' });
    const past = { nowMs: Date.now() - 200_000, validSeconds: 10 };
    await assert.rejects(submitAs(await proxyOf(site.users.alice, past)), { code: 'E_CHAIN_EXPIRED' });
    assert.equal((await site.client().call('floors')).floors, null);
  });

  test('pilots may not act for one another, nor where only users may', async () => {
    await site.client(site.users.alice).call('submit', { body: job({ priority: 9000 }) });
    const lease = await acquireLease(pilot.client);
    const other = await newPilot(site);
    const params = { attemptId: lease.attemptId };
    const body = { incarnation: lease.incarnation, state: 'running' as const };
    await assert.rejects(other.client.call('heartbeat', { params, body }), { code: 'E_NOT_FOUND' });
    await assert.rejects(site.client(site.users.alice).call('heartbeat', { params, body }), {
      code: 'E_NOT_ALLOWED',
      rule: 'pilot-works',
    });
    await assert.rejects(other.client.call('demand', { params: { queue: 'q1' } }), {
      code: 'E_PILOT_CREDENTIAL',
    });
    await pilot.client.call('heartbeat', { params, body });
  });

  test('VOs do not see each other', async () => {
    const { jobs } = await site.client(site.users.alice).call('submit', { body: job() });
    const params = { jobId: jobs[0]!.jobId };
    const carol = site.client(site.users.carol);
    const refused = { code: 'E_NOT_FOUND', rule: 'vo-isolation' };
    await assert.rejects(carol.call('showJob', { params }), refused);
    await assert.rejects(carol.call('jobLogs', { params }), refused);
    await assert.rejects(carol.call('killJob', { params, body: {} }), refused);
    await assert.rejects(carol.call('demand', { params: { queue: 'q1' } }), refused);
    await assert.rejects(
      carol.call('createSubmissions', { params: { queue: 'q1' }, body: { factory: 'f', count: 1 } }),
      refused,
    );
    assert.deepEqual((await carol.call('listJobs')).jobs, []);
    await assert.rejects(carol.call('submit', { body: job() }), { code: 'E_NOT_IN_VO' });
    assert.ok((await site.client(site.users.bob).call('showJob', { params })).job);
  });

  test('an offered TLS session is not resumed, so that nobody inherits a judgement', async () => {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const { port } = new URL(site.server.url);
      const { alice } = site.users;
      const options = { port: Number(port), host: '127.0.0.1', ca: site.ca, maxVersion };
      const first = connect({ ...options, cert: alice.cert, key: alice.key });
      const before = await getOn(first);
      assert.match(before.text, /^HTTP\/1.1 200/);
      const { session } = before;
      first.destroy();
      const second = connect({ ...options, ...(session && { session }) });
      const answer = await getOn(second);
      assert.equal(answer.reused, false);
      assert.match(answer.text, /^HTTP\/1.1 401[\s\S]*E_NO_CERTIFICATE/);
      second.destroy();
    }
  });
});

/** Asks for the caller's jobs on a connection of one's own. */
function getOn(socket: TLSSocket): Promise<{ text: string; reused: boolean; session: Buffer | undefined }> {
  return new Promise((resolve, reject) => {
    let text = '';
    let reused = false;
    let session: Buffer | undefined;
    socket.once('secureConnect', () => {
      reused = socket.isSessionReused();
      socket.write('GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n');
    });
    socket.on('data', data => {
      text += data.toString();
      session = socket.getSession();
    });
    socket.once('error', reject);
    socket.once('close', () => resolve({ text, reused, session }));
  });
}
