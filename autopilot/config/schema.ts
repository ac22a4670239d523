import * as z from 'zod';
import { CacheGroup } from '../../lib/protocol/release.ts';

const seconds = z.number().min(0).max(31_622_400);
const bytes = z.int().min(0);
const word = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'letters, digits, dot, underscore, hyphen');

/** Every setting of `pilotage autopilot run`; the reference table in docs is made from it. */
export const AutopilotConfig = z.strictObject({
  queue: word.describe('Queue whose pilots this autopilot submits.'),
  engine: z.enum(['local']).default('local').describe('Batch system that the pilots are submitted to.'),
  servers: z.array(z.url()).min(1).max(16).describe('Base URLs of the servers, in order of preference.'),
  serverCa: z.string().describe('File with the authority that signs the servers, PEM.'),
  cert: z.string().optional().describe("File with this autopilot's certificate chain, PEM."),
  key: z.string().optional().describe('File with the key of that certificate, PEM, mode 0600.'),
  caches: z
    .array(CacheGroup)
    .min(1)
    .max(16)
    .describe(
      'Caches of the code store that pilots use: groups in order, | between those of one group, > behind a forward proxy.',
    ),
  site: word.default('none').describe('Site of the queue; decides which nodes take part in a rollout.'),
  root: z.string().describe('File with the root metadata that pilots trust first.'),
  state: z.string().describe('Directory of ledger, sandboxes and logs; one for each queue.'),
  factory: word.optional().describe('Name at the server; default: one minted with the ledger.'),
  maxPilots: z.int().min(0).max(100_000).default(10).describe('Pilots not known to have ended, at most.'),
  maxPerCycle: z.int().min(1).max(1000).default(20).describe('Pilots submitted in one cycle, at most.'),
  pilotsPerJob: z.number().min(0.001).max(10).default(1).describe('Pilots wanted for each waiting job.'),
  cycleSeconds: z.number().min(0.05).max(3600).default(30).describe('Pause between two cycles.'),
  validSeconds: seconds.min(60).default(86_400).describe('For how long a submitted pilot may enrol.'),
  callSeconds: z.number().min(1).max(600).default(20).describe('Deadline of each call to server or engine.'),
  maxAgeSeconds: seconds.min(1).default(120).describe('Older demand or engine snapshots are not acted on.'),
  emptyWindowSeconds: seconds.default(600).describe('For how long an empty pilot counts.'),
  emptyMinimum: z.int().min(1).max(1000).default(4).describe('Ended pilots needed to judge the empty ones.'),
  failureThreshold: z
    .int()
    .min(1)
    .max(1000)
    .default(3)
    .describe('Failed pilots in a row that start waiting.'),
  backoffSeconds: seconds.min(0.1).default(30).describe('First wait after failures in a row; it doubles.'),
  maxBackoffSeconds: seconds.min(0.1).default(3600).describe('Longest wait after failures in a row.'),
  drainSeconds: seconds.default(60).describe('With --drain: for how long pilots may take to end.'),
  removeGraceSeconds: seconds
    .default(120)
    .describe('For how long a pilot of a killed release may take to end when asked; then it is killed.'),
  agent: z
    .record(z.string(), z.json())
    .default({})
    .describe('Settings handed to the pilots, as agent/config describes (idleSeconds and so on).'),
  local: z
    .strictObject({
      maxRunning: z
        .int()
        .min(1)
        .max(100_000)
        .optional()
        .describe('Pilots at once on this machine; default: maxPilots.'),
      maxOutputBytes: bytes
        .min(65_536)
        .default(1 << 24)
        .describe('Kept of each pilot output from its beginning.'),
      environment: z
        .record(z.string(), z.string())
        .default({})
        .describe('Environment variables of the pilots besides PATH, HOME, TMPDIR, LANG and PILOTAGE_STORE.'),
    })
    .prefault({})
    .describe('Settings of the local engine.'),
  keep: z
    .strictObject({
      sandboxSeconds: seconds.default(3600).describe('How long the sandbox of an ended pilot is kept.'),
      sandboxBytes: bytes.default(2 ** 31).describe('All sandboxes of ended pilots together, at most.'),
      logSeconds: seconds.default(604_800).describe('How long pilot logs are kept.'),
      logBytes: bytes.default(2 ** 30).describe('All pilot logs together, at most.'),
      rowSeconds: seconds.default(2_592_000).describe('How long the ledger remembers ended pilots.'),
    })
    .prefault({})
    .describe('What is kept of ended pilots.'),
});
export type AutopilotConfig = z.output<typeof AutopilotConfig>;
