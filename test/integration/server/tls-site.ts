import type { KeyObject } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type * as z from 'zod';
import { createApiClient } from '../../../lib/api-client.ts';
import type { ApiClient } from '../../../lib/api-client.ts';
import { silentLog } from '../../../lib/log.ts';
import type { RequestBody } from '../../../lib/protocol.ts';
import type { JobDefinitionInput, Lease } from '../../../lib/protocol/job.ts';
import { ServerConfig } from '../../../server/config/schema.ts';
import { startServer } from '../../../server/run.ts';
import type { RunningServer } from '../../../server/run.ts';
import { newKey } from '../../../signing/x509/authority.ts';
import { createCsr } from '../../../signing/x509/csr.ts';
import {
  createDevAuthority,
  issueDevServer,
  issueDevUser,
  issuePilotAuthority,
} from '../../../signing/x509/dev-authority.ts';
import type { DevAuthority } from '../../../signing/x509/dev-authority.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import type { Ending } from '../../lab/temporary.ts';

/** PEM texts of somebody who calls. */
export interface Identity {
  cert: string;
  key: string;
  dn: string;
}

export type ServerSettings = Partial<z.input<typeof ServerConfig>>;

/** A dispatcher with its own authority, and clients of every kind for it. */
export interface TlsSite {
  directory: string;
  dev: DevAuthority;
  ca: string;
  server: RunningServer;
  /** Settings as a file would hold them. */
  settings: z.input<typeof ServerConfig>;
  users: Record<'alice' | 'bob' | 'carol' | 'factory' | 'shifter' | 'stranger', Identity>;
  /** A client with this identity, or with none. */
  client: (identity?: Identity, url?: string) => ApiClient;
  /** Starts one more server on the same settings and database. */
  startAnother: (more?: ServerSettings) => Promise<RunningServer>;
}

export async function startTlsSite(test: Ending, more: ServerSettings = {}): Promise<TlsSite> {
  const directory = await temporaryDirectory(test, 'server');
  const dev = await createDevAuthority({ directory, instance: 'lab' });
  const issued = await issueDevServer(dev);
  const pilotAuthority = await issuePilotAuthority(dev);
  const names = ['alice', 'bob', 'carol', 'factory', 'shifter', 'stranger'] as const;
  const users = Object.fromEntries(
    await Promise.all(names.map(async name => [name, await userOf(dev, name)] as const)),
  ) as TlsSite['users'];
  const secretKeyFile = join(directory, 'secret.key');
  await writeFile(secretKeyFile, '5a'.repeat(32), { mode: 0o600 });
  const settings: z.input<typeof ServerConfig> = {
    listen: '127.0.0.1:0',
    instance: 'lab',
    stateDirectory: directory,
    tls: { certificateFile: issued.certificateFile, keyFile: issued.keyFile },
    trustFile: dev.caFile,
    pilotAuthority: { certificateFile: pilotAuthority.certificateFile, keyFile: pilotAuthority.keyFile },
    secretKeyFile,
    queues: [
      { name: 'q1', vo: 'physics', maxPilots: 5, allowContainment: ['none'] },
      { name: 'b1', vo: 'biology', maxPilots: 5, allowContainment: ['none'] },
    ],
    members: [
      { dn: users.alice.dn, vo: 'physics', roles: ['submitter'] },
      { dn: users.bob.dn, vo: 'physics', roles: ['submitter'] },
      { dn: users.carol.dn, vo: 'biology', roles: ['submitter', 'admin'] },
      { dn: users.factory.dn, vo: 'physics', roles: ['autopilot'] },
      { dn: users.shifter.dn, vo: 'physics', roles: ['shifter'] },
    ],
    ...more,
  };
  const running: RunningServer[] = [];
  const clients: ApiClient[] = [];
  const startAnother = async (others: ServerSettings = {}) => {
    const server = await startServer(ServerConfig.parse({ ...settings, ...others }), { log: silentLog });
    running.push(server);
    return server;
  };
  test.after(async () => {
    await Promise.all(clients.map(client => client.close()));
    await Promise.all(running.map(server => server.close()));
  });
  const server = await startAnother();
  const ca = dev.authority.certificatePem;
  return {
    directory,
    dev,
    ca,
    server,
    settings,
    users,
    startAnother,
    client: (identity, url = server.url) => {
      const tls = { ca, ...(identity && { cert: identity.cert, key: identity.key }) };
      const client = createApiClient({ servers: [url], tls, timeoutSeconds: 20 });
      clients.push(client);
      return client;
    },
  };
}

export async function userOf(dev: DevAuthority, name: string): Promise<Identity> {
  const { certificateFile, keyFile, dn } = await issueDevUser(dev, name);
  return { cert: await readFile(certificateFile, 'utf8'), key: await readFile(keyFile, 'utf8'), dn };
}

export const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' });
export const csrFor = (privateKey: KeyObject): string =>
  createCsr({ privateKey, subject: [['CN', 'requested']] });

export const job = (more: Partial<JobDefinitionInput> = {}): RequestBody<'submit'> => ({
  jobs: [{ definition: { vo: 'physics', queue: 'q1', command: ['true'], ...more } }],
});

/** Takes a submission as the autopilot does. */
export async function takeSubmission(site: TlsSite) {
  const { submissions } = await site
    .client(site.users.factory)
    .call('createSubmissions', { params: { queue: 'q1' }, body: { factory: 'f1', count: 1 } });
  return submissions[0]!;
}

export const enrolRequest = (
  submission: { submissionId: string; secret: string },
  key: KeyObject,
): RequestBody<'enrol'> => ({
  protocol: 1,
  instance: 'lab',
  submissionId: submission.submissionId,
  secret: submission.secret,
  csr: csrFor(key),
  node: 'node1',
  release: null,
});

export interface LivePilot {
  pilotId: string;
  identity: Identity;
  client: ApiClient;
}

/** An enrolled pilot with its certificate. */
export async function newPilot(site: TlsSite): Promise<LivePilot> {
  const key = newKey();
  const body = enrolRequest(await takeSubmission(site), key);
  const { pilotId, certificateChain } = await site.client().call('enrol', { body });
  const identity = { cert: certificateChain, key: pemOf(key), dn: `pilot ${pilotId}` };
  return { pilotId, identity, client: site.client(identity) };
}

export const acquireRequest = (waitSeconds = 0): RequestBody<'acquire'> => ({
  protocol: 1,
  release: null,
  node: 'node1',
  labels: ['user'],
  resources: { cores: 1, memoryBytes: 2 ** 33, diskBytes: 2 ** 34, wallSecondsLeft: 7200 },
  containment: 'none',
  waitSeconds,
});

export async function acquireLease(client: ApiClient): Promise<Lease> {
  const { lease } = await client.call('acquire', { body: acquireRequest() });
  if (!lease) throw new Error('no job to acquire');
  return lease;
}

export const completion = (
  lease: Lease,
  more: Partial<RequestBody<'complete'>> = {},
): RequestBody<'complete'> => ({
  incarnation: lease.incarnation,
  outcome: 'finished',
  cause: null,
  usage: { wallSeconds: 1 },
  outputs: [],
  release: null,
  ...more,
});
