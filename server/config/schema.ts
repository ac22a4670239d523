import * as z from 'zod';
import { containments, labels } from '../../lib/protocol/job.ts';
import { memberRoles } from '../policy/policy-table.ts';

const word = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'letters, digits, dot, underscore, hyphen');
const seconds = z.number().positive().max(31_622_400);
const path = z.string().min(1).max(4096);

export const QueueConfig = z.strictObject({
  name: word.describe('Name of the queue.'),
  vo: word.describe('The VO whose jobs and pilots it serves.'),
  maxPilots: z.int().min(0).max(100_000).describe('Cap on working pilots; 0 drains the queue.'),
  allowContainment: z
    .array(z.enum(containments))
    .default(['bubblewrap', 'setpriv', 'glexec'])
    .describe('Containments a pilot may run payloads in; "none" must be allowed by name.'),
  labels: z
    .array(z.enum(labels))
    .min(1)
    .default([...labels])
    .describe('Kinds of jobs it takes.'),
});

export const MemberConfig = z.strictObject({
  dn: z.string().min(1).max(1000).describe('End-entity distinguished name, in slash form.'),
  vo: word,
  roles: z.array(z.enum(memberRoles)).min(1),
});

const Limits = z.strictObject({
  bodyBytes: z
    .int()
    .min(1024)
    .default(8 << 20)
    .describe('Largest request body.'),
  waitSeconds: z.number().min(0).max(60).default(30).describe('Longest wait of one acquire.'),
  waitingCalls: z.int().min(1).default(5000).describe('Acquires that may wait at one time in this server.'),
  logBytes: z
    .int()
    .min(1024)
    .default(64 << 20)
    .describe('Kept of one stream of one attempt, whatever the job says.'),
  submissionsPerCall: z
    .int()
    .min(1)
    .default(1000)
    .describe('Submission ids handed out in one call, at most.'),
  returns: z.int().min(1).default(100).describe('Times a job may be handed back before it fails.'),
});

const settings = z.strictObject({
  listen: z
    .string()
    .default('127.0.0.1:25443')
    .describe('HOST:PORT of the TLS listener; port 0 takes a free one.'),
  publicBaseUrl: z
    .url()
    .optional()
    .describe('Base URL that clients use, with a path prefix if there is one; default from the listener.'),
  instance: word.describe('Name of this instance; certificates, secrets and requests of others are refused.'),
  stateDirectory: path.default('.').describe('Where the SQLite file lies when databaseUrl is not set.'),
  databaseUrl: z
    .string()
    .optional()
    .describe('sqlite:<path>, postgres://… or mariadb://…; default server.sqlite in stateDirectory.'),
  databaseConnections: z
    .int()
    .min(1)
    .max(1000)
    .default(10)
    .describe('Connections to the database at one time.'),
  tls: z
    .strictObject({
      certificateFile: path.describe('PEM chain of this server, leaf first.'),
      keyFile: path.describe('PEM private key, mode 0600.'),
    })
    .describe('What this server shows.'),
  trustFile: path.describe(
    'PEM file or directory of the authorities that users, autopilots and admins are certified by.',
  ),
  pilotAuthority: z
    .strictObject({
      certificateFile: path.describe('PEM certificate of the authority that signs pilots and payloads.'),
      keyFile: path.describe('Its private key, mode 0600.'),
    })
    .describe('The same on every server of the instance.'),
  secretKeyFile: path.describe(
    'At least 32 bytes, hexadecimal, mode 0600; the same on every server. `pilotage server init` makes one.',
  ),
  queues: z
    .array(QueueConfig)
    .max(10_000)
    .default([])
    .describe('The queues; written to the database at start.'),
  members: z.array(MemberConfig).max(100_000).default([]).describe('Who has which roles in which VO.'),
  leaseSeconds: seconds.default(180).describe('An attempt not heard of for so long is lost.'),
  heartbeatSeconds: seconds.default(60).describe('How often pilots are to report.'),
  pilotLeaseSeconds: seconds
    .default(300)
    .describe('A pilot not heard of for so long loses its place under the cap.'),
  pilotCertificateSeconds: seconds.default(43_200).describe('Validity of a pilot certificate.'),
  sweepSeconds: seconds.default(5).describe('How often expired leases are looked for.'),
  outageSeconds: seconds
    .optional()
    .describe(
      'The service counts as having been down when no server was alive for longer, and leases are lengthened by it; default a sixth of leaseSeconds, at least three sweeps.',
    ),
  retrySeconds: seconds.default(5).describe('When a pilot that got no job is to ask again.'),
  idempotencySeconds: seconds.default(86_400).describe('How long replies are kept for repeated requests.'),
  demandWindowSeconds: seconds.default(3600).describe('Window of the recent failures that demand reports.'),
  maxDelegationDepth: z
    .int()
    .min(0)
    .max(10)
    .default(2)
    .describe('Proxies below the end entity at submission.'),
  pandaIds: z
    .strictObject({
      first: z.int().min(1).default(1),
      last: z
        .int()
        .min(1)
        .default(Number.MAX_SAFE_INTEGER - 1),
    })
    .prefault({})
    .describe("Range of this shard's integer attempt ids, below 2^53."),
  store: z
    .strictObject({
      url: z.url().optional().describe('Base URL of the code store.'),
      directory: path.optional().describe('Or its public directory on this machine.'),
      rootFile: path.describe('The root.json that is trusted to begin with.'),
      refreshSeconds: seconds.default(60),
    })
    .refine(
      store => (store.url === undefined) !== (store.directory === undefined),
      'needs either url or directory',
    )
    .optional()
    .describe('Where floors of signed metadata come from.'),
  limits: Limits.prefault({}).describe('Bounds.'),
});

/** Settings of `pilotage server run`. */
export const ServerConfig = settings
  .refine(({ heartbeatSeconds, leaseSeconds }) => heartbeatSeconds < leaseSeconds, {
    path: ['heartbeatSeconds'],
    error: 'must be less than leaseSeconds, or every attempt is lost between two reports',
  })
  .refine(
    ({ heartbeatSeconds, retrySeconds, pilotLeaseSeconds }) =>
      Math.max(heartbeatSeconds, retrySeconds) < pilotLeaseSeconds,
    {
      path: ['pilotLeaseSeconds'],
      error: 'must be more than heartbeatSeconds and retrySeconds, or working pilots lose their places',
    },
  )
  .refine(({ pandaIds }) => pandaIds.first <= pandaIds.last, {
    path: ['pandaIds', 'last'],
    error: 'must not be below pandaIds.first',
  })
  .refine(({ queues }) => new Set(queues.map(({ name }) => name)).size === queues.length, {
    path: ['queues'],
    error: 'two queues have the same name',
  });
export type ServerConfig = z.output<typeof ServerConfig>;
