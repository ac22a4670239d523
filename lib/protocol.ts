import * as z from 'zod';
import { causeCodes } from './job-causes.ts';
import { jobStates } from './job-states.ts';

/**
 * The contract of every request and reply between Pilotage's parts. Unknown fields are ignored, unknown enum values
 * refused; durations, never dates, decide anything; every size is bounded. OpenAPI is made from this file.
 */
export const PROTOCOL_VERSION = 1;

/** Header that every write carries: the same key with the same request gets the same answer again. */
export const IDEMPOTENCY_HEADER = 'idempotency-key';

const word = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'letters, digits, dot, underscore, hyphen; at most 64');
const id = z.string().regex(/^[0-9A-HJKMNP-TV-Z]{26}$/, 'a ULID of 26 characters');
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, '64 lower-case hex digits');
const text = (max: number) => z.string().max(max);
const count = z.int().min(0);
const seconds = z.number().min(0).max(31_622_400);
const bytes = z.int().min(0);
const pem = z.string().max(65_536);
const cursor = z.string().max(200);

/** A file name inside the job's work directory: relative, no `..`, no absolute path, no control characters. */
export const fileName = z
  .string()
  .min(1)
  .max(255)
  .refine(
    name =>
      !/^\/|\\|[\0-\x1f]/.test(name) &&
      name.split('/').every(part => part !== '' && part !== '.' && part !== '..'),
    'a relative path without "..", empty parts or control characters',
  );

const stageUrl = z
  .string()
  .max(4096)
  .regex(/^(file|https?):\/\//, 'a file:, http: or https: URL');

export const InputFile = z.object({ name: fileName, url: stageUrl, sha256, bytes: bytes.optional() });
export const OutputFile = z.object({ name: fileName, optional: z.boolean().default(false) });

export const Limits = z.object({
  wallSeconds: z.int().min(1).max(2_592_000).default(3600).describe('Wall-clock seconds of the payload.'),
  memoryBytes: bytes
    .min(1 << 20)
    .default(2 ** 31)
    .describe('Memory of the whole process tree.'),
  diskBytes: bytes
    .min(1 << 20)
    .default(2 ** 33)
    .describe('Size of the work directory.'),
  logBytes: bytes
    .min(1024)
    .max(2 ** 30)
    .default(2 ** 24)
    .describe('Kept of stdout and of stderr, each.'),
});

export const labels = ['user', 'managed', 'install', 'test'] as const;

/** What is to be run. Immutable once submitted; its canonical (RFC 8785) sha256 is its name in receipts. */
export const JobDefinition = z.object({
  name: text(200).default('job'),
  vo: word,
  queue: word,
  label: z.enum(labels).default('user'),
  group: word.optional(),
  priority: z.int().min(0).max(1_000_000).default(1000),
  command: z
    .array(text(8192))
    .min(1)
    .max(200)
    .describe('Argument vector; the first item is looked up in the work directory, then on PATH.'),
  environment: z
    .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,99}$/), text(8192))
    .refine(variables => Object.keys(variables).length <= 1000, 'at most 1000 variables')
    .default({}),
  inputs: z.array(InputFile).max(1000).default([]),
  outputs: z.array(OutputFile).max(1000).default([]),
  outputUrl: stageUrl
    .optional()
    .describe(
      'Where outputs go; required when there are outputs. They land at <outputUrl>/<jobId>/<attempt>/<name>.',
    ),
  limits: Limits.prefault({}),
  cores: z.int().min(1).max(4096).default(1),
  maxAttempts: z.int().min(1).max(20).default(3),
});

/** The release a pilot runs, as its bootstrap verified it. */
export const ReleaseRef = z.object({
  name: word,
  version: word,
  sha256,
  runtimeVersion: word.optional(),
  channel: word.optional(),
  channelSerial: count.optional(),
  metadata: z
    .record(word, count)
    .refine(roles => Object.keys(roles).length <= 64, 'at most 64 roles')
    .describe('Version of each signed metadata role that was in force: root, timestamp, snapshot, ...'),
});

/** Least versions of signed metadata that a node must accept, and the server's time: a withholding cache cannot hide a revocation. */
export const Floors = z.object({
  root: count,
  timestamp: count,
  snapshot: count,
  channelSerials: z.record(word, count),
  signedTimeMs: z.int(),
});

export const Resources = z.object({
  cores: z.int().min(1),
  memoryBytes: bytes,
  diskBytes: bytes,
  wallSecondsLeft: seconds,
});

/** How far a payload is kept from the pilot: `none` is one uid without any wall; a queue must allow it by name. */
export const containments = ['none', 'bubblewrap', 'setpriv', 'glexec'] as const;

export const Cause = z.object({
  code: z.enum(causeCodes as [string, ...string[]]),
  text: text(2000),
});

export const Usage = z.object({
  wallSeconds: seconds,
  cpuSeconds: seconds.optional(),
  peakMemoryBytes: bytes.optional(),
  diskBytes: bytes.optional(),
  exitCode: z.int().nullable().optional(),
  signal: text(20).nullable().optional(),
});

export const StoredOutput = z.object({ name: fileName, url: stageUrl, sha256, bytes });

/** Tail of the payload's output as last reported, at most 8 KiB of each. */
export const LogTail = z.object({ stdout: text(8192).default(''), stderr: text(8192).default('') });

/** Commands that a server can give a pilot; a fixed list of verbs for that job only. */
export const commandVerbs = ['kill', 'report-now'] as const;
export const PilotCommand = z.object({ id, verb: z.enum(commandVerbs), reason: text(500).default('') });

export const Lease = z.object({
  jobId: id,
  attemptId: id,
  attemptNumber: z.int().min(1),
  pandaId: z.int().min(1).describe('Integer id of this attempt, below 2^53.'),
  incarnation: text(64).describe('Incarnation of the database that gave the lease.'),
  leaseSeconds: seconds,
  heartbeatSeconds: seconds,
  definition: JobDefinition,
  definitionSha256: sha256,
});

/** Signed summary of one attempt; deepened with a signature chain later, kept from the first day. */
export const Receipt = z.object({
  jobId: id,
  attemptId: id,
  definitionSha256: sha256,
  release: ReleaseRef,
  inputs: z.array(z.object({ name: fileName, sha256 })).max(1000),
  outputs: z.array(StoredOutput).max(1000),
  usage: Usage,
  outcome: text(40),
  cause: Cause.nullable(),
  containment: z.enum(containments),
  node: text(255),
  signature: text(4096)
    .optional()
    .describe('Base64 of the pilot key over the canonical JSON of the other fields.'),
});

export const JobView = z.object({
  jobId: id,
  instance: word,
  vo: word,
  queue: word,
  name: text(200),
  group: word.nullable(),
  owner: text(1000).describe("Submitter's distinguished name."),
  state: z.enum(jobStates),
  cause: Cause.extend({ owner: z.enum(['user', 'payload', 'site', 'service']), fix: text(500) }).nullable(),
  attempts: count,
  submittedMs: z.int(),
  changedMs: z.int(),
  acceptedAttemptId: id.nullable(),
});

export const AttemptView = z.object({
  attemptId: id,
  attemptNumber: z.int(),
  pandaId: z.int(),
  pilotId: id,
  node: text(255),
  state: z.enum([...jobStates, 'lost', 'returned']),
  containment: z.enum(containments),
  release: ReleaseRef.nullable(),
  usage: Usage.nullable(),
  outputs: z.array(StoredOutput),
  cause: Cause.nullable(),
  startedMs: z.int(),
  endedMs: z.int().nullable(),
});

export const JobEvent = z.object({
  atMs: z.int(),
  from: text(20).nullable(),
  to: text(20),
  by: text(1000),
  note: text(2000),
});

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

export type JobDefinition = z.output<typeof JobDefinition>;
export type JobDefinitionInput = z.input<typeof JobDefinition>;
export type ReleaseRef = z.output<typeof ReleaseRef>;
export type Lease = z.output<typeof Lease>;
export type Floors = z.output<typeof Floors>;
export type Usage = z.output<typeof Usage>;
export type Cause = z.output<typeof Cause>;
export type StoredOutput = z.output<typeof StoredOutput>;
export type Receipt = z.output<typeof Receipt>;
export type JobView = z.output<typeof JobView>;
export type AttemptView = z.output<typeof AttemptView>;
export type PilotCommand = z.output<typeof PilotCommand>;
export type Containment = (typeof containments)[number];
export type InputFile = z.output<typeof InputFile>;
export type Resources = z.output<typeof Resources>;

const artefact = z.object({ path: text(500), sha256, version: word });

/** `channels/<name>.json`: the signed pointer that says which build a channel's queues run (1 KiB, moved by a signature). */
export const ChannelPointer = z.object({
  schema: z.literal(1),
  product: z.literal('pilotage-pilot'),
  channel: word,
  serial: z.int().min(1),
  current: z.object({
    version: word,
    pilot: artefact,
    runtimes: z.record(z.string(), artefact).describe('By architecture: linux-x64, linux-arm64.'),
  }),
  previous: z.object({ version: word, pilot: artefact, runtimes: z.record(z.string(), artefact) }).nullable(),
  min_version: word.nullable(),
  yanked: z.array(word).max(1000),
  rollout: z.object({ percent: z.int().min(0).max(100), seed: text(64), sites: z.array(word).max(10_000) }),
  not_before: z.int().describe('Epoch seconds before which the pointer is not followed.'),
});
export type ChannelPointer = z.output<typeof ChannelPointer>;

/** `queues/channels.json`: which channel each queue follows; `default` for queues that are not named. */
export const QueueChannels = z.object({
  schema: z.literal(1),
  serial: z.int().min(1),
  default: word,
  queues: z.record(word, word),
});
export type QueueChannels = z.output<typeof QueueChannels>;

/**
 * `bootstrap.json`, mode 0600: what a submitted pilot is given besides the wrapper and its pinned root. Written minified
 * with sorted keys, so that a POSIX shell can read it.
 */
export const Bootstrap = z.object({
  schema: z.literal(1),
  instance: word,
  queue: word,
  submissionId: id,
  secret: text(100),
  servers: z.array(z.url()).min(1).max(16),
  serverCa: pem.describe('PEM of the authority that signs the servers.'),
  caches: z.array(z.url()).min(1).max(16).describe('Caching proxies or origins of the code store, in order.'),
  floors: Floors.nullable(),
  agent: z
    .record(z.string(), z.json())
    .default({})
    .describe('Settings of the agent, as agent/config describes.'),
});
export type Bootstrap = z.output<typeof Bootstrap>;

/** What the bootstrap hands the agent after it verified everything; a JSON file named by `agent run --verified FILE`. */
export const VerifiedRelease = z.object({
  release: ReleaseRef,
  cache: z.string().describe('The cache it came through, or "local".'),
  bootstrapMs: z.number(),
});
export type VerifiedRelease = z.output<typeof VerifiedRelease>;
