import * as z from 'zod';
import { jobStates } from './job-states.ts';
import {
  AttemptView,
  Cause,
  JobDefinition,
  JobEvent,
  JobView,
  Lease,
  LogTail,
  PilotCommand,
  Receipt,
  Resources,
  StoredOutput,
  Usage,
  commandVerbs,
  containments,
  labels,
} from './protocol/job.ts';
import { Floors, ReleaseRef } from './protocol/release.ts';
import { bytes, count, cursor, id, pem, seconds, sha256, text, word } from './protocol/words.ts';

/**
 * The contract of every request and reply between Pilotage's parts. Unknown fields are ignored, unknown enum values
 * refused; durations, never dates, decide anything; every size is bounded. OpenAPI is made from this file.
 */
export const PROTOCOL_VERSION = 1;

/** Header that every write carries: the same key with the same request gets the same answer again. */
export const IDEMPOTENCY_HEADER = 'idempotency-key';

const reply = <Shape extends z.ZodRawShape>(shape: Shape) =>
  z.object({ serverTimeMs: z.int(), instance: word, ...shape });
const nothing = z.object({});

/** What a route is for; the policy table says which role may do which action. */
export const actions = [
  'submit',
  'read',
  'kill',
  'command',
  'demand',
  'submission',
  'enrol',
  'acquire',
  'update',
  'health',
] as const;
export type Action = (typeof actions)[number];

export interface Route {
  method: 'GET' | 'POST';
  /** Path below the public base URL, `:name` for parameters. */
  path: string;
  action: Action;
  /** Writes carry an idempotency key. */
  write: boolean;
  params: z.ZodObject;
  query: z.ZodObject;
  body: z.ZodObject;
  reply: z.ZodObject;
  summary: string;
}

const route = <
  P extends z.ZodObject,
  Q extends z.ZodObject,
  B extends z.ZodObject,
  R extends z.ZodObject,
>(parts: {
  method: 'GET' | 'POST';
  path: string;
  action: Action;
  summary: string;
  params?: P;
  query?: Q;
  body?: B;
  reply: R;
}) => ({
  write: parts.method === 'POST',
  ...parts,
  params: (parts.params ?? nothing) as P,
  query: (parts.query ?? nothing) as Q,
  body: (parts.body ?? nothing) as B,
});

const jobParam = z.object({ jobId: id });
const queueParam = z.object({ queue: word });
const attemptParam = z.object({ attemptId: id });
const ofAttempt = { incarnation: text(64) };

export const routes = {
  submit: route({
    method: 'POST',
    path: '/v1/jobs',
    action: 'submit',
    summary: 'Submit jobs in bulk; all or none.',
    body: z.object({
      jobs: z
        .array(z.object({ jobId: id.optional(), definition: JobDefinition }))
        .min(1)
        .max(1000),
    }),
    reply: reply({
      jobs: z.array(z.object({ jobId: id, definitionSha256: sha256, state: z.enum(jobStates) })),
    }),
  }),
  listJobs: route({
    method: 'GET',
    path: '/v1/jobs',
    action: 'read',
    summary: 'List jobs, newest first.',
    query: z.object({
      vo: word.optional(),
      queue: word.optional(),
      group: word.optional(),
      state: z.enum(jobStates).optional(),
      cursor: cursor.optional(),
      limit: z.coerce.number().int().min(1).max(1000).default(100),
    }),
    reply: reply({ jobs: z.array(JobView), nextCursor: cursor.nullable() }),
  }),
  showJob: route({
    method: 'GET',
    path: '/v1/jobs/:jobId',
    action: 'read',
    summary: 'One job with its attempts and history.',
    params: jobParam,
    reply: reply({
      job: JobView,
      definition: JobDefinition,
      definitionSha256: sha256,
      attempts: z.array(AttemptView),
      events: z.array(JobEvent),
    }),
  }),
  jobLogs: route({
    method: 'GET',
    path: '/v1/jobs/:jobId/logs',
    action: 'read',
    summary: "The newest attempt's output, or a named attempt's.",
    params: jobParam,
    query: z.object({ attemptId: id.optional() }),
    reply: reply({ attemptId: id.nullable(), stdout: z.string(), stderr: z.string(), complete: z.boolean() }),
  }),
  killJob: route({
    method: 'POST',
    path: '/v1/jobs/:jobId/kill',
    action: 'kill',
    summary: 'End a job; a running payload is told with its next heartbeat.',
    params: jobParam,
    body: z.object({ reason: text(500).default('') }),
    reply: reply({ jobId: id, state: z.enum(jobStates) }),
  }),
  commandJob: route({
    method: 'POST',
    path: '/v1/jobs/:jobId/commands',
    action: 'command',
    summary: "Queue a command for the job's running attempt.",
    params: jobParam,
    body: z.object({ verb: z.enum(commandVerbs), reason: text(500).default('') }),
    reply: reply({ commandId: id }),
  }),
  demand: route({
    method: 'GET',
    path: '/v1/queues/:queue/demand',
    action: 'demand',
    summary: 'How many pilots a queue can use now.',
    params: queueParam,
    reply: reply({
      queue: word,
      activated: count,
      active: count,
      cap: count,
      submissionsOpen: count.describe('Handed out, neither enrolled nor expired.'),
      pilotsIdle: count,
      pilotsBusy: count,
      recent: z.object({
        windowSeconds: seconds,
        pilotsEnded: count,
        pilotsEmpty: count,
        pilotsLost: count,
        jobsFailedBySite: count,
      }),
      remove: z
        .array(z.object({ submissionId: id, release: word }))
        .max(1000)
        .default([])
        .describe(
          'Pilots of a release that was killed, to be ended at the batch system; more come with the next.',
        ),
    }),
  }),
  releases: route({
    method: 'GET',
    path: '/v1/releases',
    action: 'read',
    summary: 'Which releases the working pilots run now.',
    reply: reply({
      releases: z
        .array(
          z.object({
            queue: word,
            version: word.nullable().describe('Null: pilots that were not started by a wrapper.'),
            channel: word.nullable(),
            pilots: count,
            standing: word.describe('good, withdrawn, killed.'),
          }),
        )
        .max(10_000),
    }),
  }),
  createSubmissions: route({
    method: 'POST',
    path: '/v1/queues/:queue/submissions',
    action: 'submission',
    summary: 'Hand out submission ids with their one-time secrets, under the cap.',
    params: queueParam,
    body: z.object({ factory: word, count: z.int().min(1).max(1000), validSeconds: seconds.default(86_400) }),
    reply: reply({
      submissions: z.array(z.object({ submissionId: id, secret: text(100), validSeconds: seconds })),
      floors: Floors.nullable(),
    }),
  }),
  listSubmissions: route({
    method: 'GET',
    path: '/v1/queues/:queue/submissions',
    action: 'submission',
    summary: "A factory's submissions and what became of them.",
    params: queueParam,
    query: z.object({
      factory: word,
      cursor: cursor.optional(),
      limit: z.coerce.number().int().min(1).max(1000).default(500),
    }),
    reply: reply({
      submissions: z.array(
        z.object({
          submissionId: id,
          state: z.enum(['open', 'enrolled', 'ended', 'expired', 'withdrawn']),
          pilotId: id.nullable(),
          jobsDone: count,
        }),
      ),
      nextCursor: cursor.nullable(),
    }),
  }),
  withdrawSubmissions: route({
    method: 'POST',
    path: '/v1/queues/:queue/submissions/withdraw',
    action: 'submission',
    summary: 'Give back submission ids that were never started.',
    params: queueParam,
    body: z.object({ factory: word, submissionIds: z.array(id).min(1).max(1000) }),
    reply: reply({ withdrawn: z.array(id) }),
  }),
  enrol: route({
    method: 'POST',
    path: '/v1/enrol',
    action: 'enrol',
    summary:
      'Redeem a one-time secret and a CSR for a short-lived pilot certificate. Needs no client certificate.',
    body: z.object({
      protocol: z.int(),
      instance: word,
      submissionId: id,
      secret: text(100),
      csr: pem,
      node: text(255),
      release: ReleaseRef.nullable(),
    }),
    reply: reply({
      pilotId: id,
      queue: word,
      certificateChain: pem.describe('PEM, leaf first, authority excluded.'),
      validSeconds: seconds,
      pilotLeaseSeconds: seconds,
      incarnation: text(64),
      floors: Floors.nullable(),
    }),
  }),
  renewPilot: route({
    method: 'POST',
    path: '/v1/pilot/renew',
    action: 'update',
    summary: 'A fresh certificate for the same enrolled pilot and a new key.',
    body: z.object({ csr: pem }),
    reply: reply({ certificateChain: pem, validSeconds: seconds, floors: Floors.nullable() }),
  }),
  acquire: route({
    method: 'POST',
    path: '/v1/acquire',
    action: 'acquire',
    summary: 'Ask for a job; may wait for one.',
    body: z.object({
      protocol: z.int(),
      release: ReleaseRef.nullable(),
      node: text(255),
      labels: z.array(z.enum(labels)).min(1).max(100),
      resources: Resources,
      containment: z.enum(containments),
      waitSeconds: seconds.max(60).default(0),
    }),
    reply: reply({
      lease: Lease.nullable(),
      drain: z.boolean().describe('True: take no more work and end.'),
      drainBecause: word
        .nullable()
        .default(null)
        .describe('Why: queue-retired, cap-lowered, release-revoked.'),
      refusals: z
        .array(z.object({ predicate: word, jobs: count }))
        .describe('Why waiting jobs of this queue did not match.'),
      retrySeconds: seconds,
    }),
  }),
  heartbeat: route({
    method: 'POST',
    path: '/v1/attempts/:attemptId/heartbeat',
    action: 'update',
    summary: 'Progress of an attempt; renews its lease; commands come back.',
    params: attemptParam,
    body: z.object({
      ...ofAttempt,
      state: z.enum(['starting', 'running', 'holding', 'transferring']),
      usage: Usage.optional(),
      tail: LogTail.optional(),
      acknowledged: z.array(id).max(100).default([]),
    }),
    reply: reply({ leaseSeconds: seconds, commands: z.array(PilotCommand) }),
  }),
  payloadCredential: route({
    method: 'POST',
    path: '/v1/attempts/:attemptId/credential',
    action: 'update',
    summary: "Certificate for the payload's own key, bound to the attempt; it can submit nothing.",
    params: attemptParam,
    body: z.object({ ...ofAttempt, csr: pem }),
    reply: reply({ certificateChain: pem, validSeconds: seconds }),
  }),
  appendLog: route({
    method: 'POST',
    path: '/v1/attempts/:attemptId/log',
    action: 'update',
    summary: 'Full output of an attempt, by stream and offset.',
    params: attemptParam,
    body: z.object({
      ...ofAttempt,
      stream: z.enum(['stdout', 'stderr', 'pilot']),
      offset: bytes,
      data: z
        .string()
        .max(1 << 20)
        .describe('Base64.'),
      last: z.boolean(),
    }),
    reply: reply({ nextOffset: bytes }),
  }),
  complete: route({
    method: 'POST',
    path: '/v1/attempts/:attemptId/complete',
    action: 'update',
    summary: 'The result of an attempt; accepted once.',
    params: attemptParam,
    body: z.object({
      ...ofAttempt,
      outcome: z.enum(['finished', 'failed', 'cancelled', 'returned']),
      cause: Cause.nullable(),
      usage: Usage,
      outputs: z.array(StoredOutput).max(1000),
      tail: LogTail.optional(),
      release: ReleaseRef.nullable(),
      receipt: Receipt.optional(),
    }),
    reply: reply({ accepted: z.boolean(), jobState: z.enum(jobStates) }),
  }),
  showReceipt: route({
    method: 'GET',
    path: '/v1/attempts/:attemptId/receipt',
    action: 'read',
    summary: 'The receipt an attempt ended with.',
    params: attemptParam,
    reply: reply({ receipt: Receipt.nullable() }),
  }),
  leavePilot: route({
    method: 'POST',
    path: '/v1/pilot/leave',
    action: 'update',
    summary: 'The pilot ends; its place under the cap is free.',
    body: z.object({ reason: text(500), jobsDone: count }),
    reply: reply({}),
  }),
  floors: route({
    method: 'GET',
    path: '/v1/floors',
    action: 'health',
    summary: 'Least versions of signed metadata now in force.',
    reply: reply({ floors: Floors.nullable() }),
  }),
} as const satisfies Record<string, Route>;

export type Routes = typeof routes;
export type RouteName = keyof Routes;
/** What a caller may give: defaults may be left out. */
export type RequestBody<N extends RouteName> = z.input<Routes[N]['body']>;
/** What the server's logic gets: defaults filled in. */
export type ParsedBody<N extends RouteName> = z.output<Routes[N]['body']>;
export type ReplyBody<N extends RouteName> = z.output<Routes[N]['reply']>;
export type PathParams<N extends RouteName> = z.output<Routes[N]['params']>;
export type Query<N extends RouteName> = z.input<Routes[N]['query']>;
