import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Database } from '../../../lib/database/database.ts';
import { newId } from '../../../lib/ids.ts';
import { silentLog } from '../../../lib/log.ts';
import { routes } from '../../../lib/protocol.ts';
import { JobDefinition } from '../../../lib/protocol/job.ts';
import type { RequestBody, RouteName, Routes } from '../../../lib/protocol.ts';
import type { JobDefinitionInput, Lease } from '../../../lib/protocol/job.ts';
import { ServerConfig } from '../../../server/config/schema.ts';
import { acquireJob } from '../../../server/logic/acquire-job.ts';
import { createCertificateIssuer } from '../../../server/logic/certificate-issuer.ts';
import { completeAttempt } from '../../../server/logic/complete-attempt.ts';
import type { ServerContext } from '../../../server/logic/context.ts';
import { createSubmissions } from '../../../server/logic/create-submissions.ts';
import { enrolPilot } from '../../../server/logic/enrol-pilot.ts';
import { heartbeat } from '../../../server/logic/heartbeat.ts';
import { JobWakeup } from '../../../server/logic/job-wakeup.ts';
import { noFloors } from '../../../server/logic/release-floors.ts';
import { prepareDatabase } from '../../../server/logic/prepare-database.ts';
import { showJob } from '../../../server/logic/show-job.ts';
import { submitJobs } from '../../../server/logic/submit-jobs.ts';
import { syncQueues } from '../../../server/logic/sync-queues.ts';
import type { PilotCaller, UserCaller } from '../../../server/policy/caller.ts';
import type { Role } from '../../../server/policy/policy-table.ts';
import type { ServerTables } from '../../../server/schema.ts';
import { createAuthority } from '../../../signing/x509/authority.ts';
import { createCsr } from '../../../signing/x509/csr.ts';
import type { TestDatabase } from '../../lab/databases.ts';
import type * as z from 'zod';

/** A member with the same roles in each of the VOs. */
export const member = (name: string, roles: Role[], vos = ['physics']): UserCaller => ({
  kind: 'user',
  name: `/O=Pilotage/OU=lab/CN=${name}`,
  roles: new Map(vos.map(vo => [vo, new Set(roles)])),
  depth: 0,
  limited: false,
});

export const alice = member('alice', ['submitter']);
export const factory = member('factory', ['autopilot']);
export const shifter = member('shifter', ['shifter']);

type QueueInput = z.input<typeof ServerConfig>['queues'];

const settings = (queues: QueueInput, more: Partial<z.input<typeof ServerConfig>> = {}): ServerConfig =>
  ServerConfig.parse({
    instance: 'lab',
    tls: { certificateFile: 'unused', keyFile: 'unused' },
    trustFile: 'unused',
    pilotAuthority: { certificateFile: 'unused', keyFile: 'unused' },
    secretKeyFile: 'unused',
    queues,
    ...more,
  });

const authority = createAuthority({ commonName: 'pilot authority', instance: 'lab', days: 1, pathLength: 0 });

export interface Lab {
  context: ServerContext;
  db: Database<ServerTables>['db'];
  config: ServerConfig;
  /** Changes what the configuration says of the queues. */
  setQueues: (queues: QueueInput) => Promise<void>;
}

/** The server's logic on a database of the test, without a listener. */
export async function openLab(
  database: TestDatabase,
  options: { queues?: QueueInput } & Partial<z.input<typeof ServerConfig>> = {},
): Promise<Lab> {
  const { queues = [{ name: 'q1', vo: 'physics', maxPilots: 10, allowContainment: ['none'] }], ...more } =
    options;
  const config = settings(queues, more);
  const opened = await database.open<ServerTables>();
  await prepareDatabase(opened, config, silentLog);
  const context: ServerContext = {
    database: opened,
    settings: config,
    log: silentLog,
    wakeup: new JobWakeup(),
    issuer: createCertificateIssuer(await authority, 'lab'),
    secretKey: Buffer.alloc(32, 7),
    releases: noFloors,
  };
  const setQueues = async (next: QueueInput) => {
    const { queues: parsed } = settings(next);
    await opened.transaction(trx => syncQueues(trx, parsed));
  };
  return { context, db: opened.db, config, setQueues };
}

/** A request body as the route's schema fills it in. */
export const body = <N extends RouteName>(name: N, input: RequestBody<N>): z.output<Routes[N]['body']> =>
  routes[name].body.parse(input) as z.output<Routes[N]['body']>;

export const definition = (more: Partial<JobDefinitionInput> = {}): JobDefinition =>
  JobDefinition.parse({ vo: 'physics', queue: 'q1', command: ['true'], ...more });

/** Submits jobs one by one and returns their ids. */
export async function submit(lab: Lab, ...definitions: Partial<JobDefinitionInput>[]): Promise<string[]> {
  const jobs = definitions.map(more => ({ definition: definition(more) }));
  const reply = await submitJobs(lab.context, alice, newId(), body('submit', { jobs }));
  return reply.jobs.map(job => job.jobId);
}

export const newKey = (): KeyObject =>
  createPrivateKey(
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
  );

export const csrFor = (privateKey: KeyObject): string =>
  createCsr({ privateKey, subject: [['CN', 'pilot']] });

/** Takes submission ids as the autopilot does. */
export const takeSubmissions = async (lab: Lab, count: number, queue = 'q1', validSeconds = 3600) =>
  (
    await createSubmissions(
      lab.context,
      factory,
      newId(),
      queue,
      body('createSubmissions', { factory: 'f1', count, validSeconds }),
    )
  ).submissions;

export const enrolBody = (
  submission: { submissionId: string; secret: string },
  key: KeyObject,
  more: Partial<RequestBody<'enrol'>> = {},
) =>
  body('enrol', {
    protocol: 1,
    instance: 'lab',
    submissionId: submission.submissionId,
    secret: submission.secret,
    csr: csrFor(key),
    node: 'node1',
    release: null,
    ...more,
  });

/** A new pilot from submission to enrolment. */
export async function newPilot(lab: Lab, queue = 'q1'): Promise<PilotCaller> {
  const [submission] = await takeSubmissions(lab, 1, queue);
  if (!submission) throw new Error('no submission under the cap');
  const { pilotId } = await enrolPilot(lab.context, newId(), enrolBody(submission, newKey()));
  return { kind: 'pilot', name: `pilot ${pilotId}`, pilotId };
}

export const acquireBody = (more: Partial<RequestBody<'acquire'>> = {}) =>
  body('acquire', {
    protocol: 1,
    release: null,
    node: 'node1',
    labels: ['user'],
    resources: { cores: 4, memoryBytes: 2 ** 33, diskBytes: 2 ** 34, wallSecondsLeft: 7200 },
    containment: 'none',
    ...more,
  });

const never = new AbortController().signal;

export const acquire = (
  lab: Lab,
  pilot: PilotCaller,
  more: Partial<RequestBody<'acquire'>> = {},
  key = newId(),
) => acquireJob(lab.context, pilot, key, acquireBody(more), never);

/** Acquires, and insists on a lease. */
export async function acquireLease(lab: Lab, pilot: PilotCaller): Promise<Lease> {
  const { lease } = await acquire(lab, pilot);
  if (!lease) throw new Error('no job to acquire');
  return lease;
}

export const beat = (
  lab: Lab,
  pilot: PilotCaller,
  lease: Lease,
  more: Partial<RequestBody<'heartbeat'>> = {},
) =>
  heartbeat(
    lab.context,
    pilot,
    lease.attemptId,
    body('heartbeat', { incarnation: lease.incarnation, state: 'running', ...more }),
  );

export const complete = (
  lab: Lab,
  pilot: PilotCaller,
  lease: Lease,
  more: Partial<RequestBody<'complete'>> = {},
  key = newId(),
) =>
  completeAttempt(
    lab.context,
    pilot,
    key,
    lease.attemptId,
    body('complete', {
      incarnation: lease.incarnation,
      outcome: 'finished',
      cause: null,
      usage: { wallSeconds: 1 },
      outputs: [],
      release: null,
      ...more,
    }),
  );

export const show = (lab: Lab, jobId: string) => showJob(lab.context, alice, jobId);
export const stateOf = async (lab: Lab, jobId: string) => (await show(lab, jobId)).job.state;

/** Makes an attempt's lease one that ran out long ago. */
export const overdue = (lab: Lab, lease: Lease) =>
  lab.db
    .updateTable('attempt')
    .set({ lease_until_ms: 1 })
    .where('attempt_id', '=', lease.attemptId)
    .execute();

/** Makes a pilot one that was not heard of for long. */
export const silent = (lab: Lab, pilot: PilotCaller) =>
  lab.db.updateTable('pilot').set({ lease_until_ms: 1 }).where('pilot_id', '=', pilot.pilotId).execute();

/** Lets the next sweep be anybody's turn. */
export const nextTurn = (lab: Lab) => lab.db.updateTable('service').set({ swept_ms: 0 }).execute();
