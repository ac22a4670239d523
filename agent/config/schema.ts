import * as z from 'zod';
import { labels } from '../../lib/protocol/job.ts';

/**
 * Settings of the pilot. Given by `agent` in bootstrap.json, then PILOTAGE_AGENT_*, then flags; the later wins.
 */
export const AgentConfig = z.strictObject({
  idleSeconds: z.number().min(0).max(86_400).default(60).describe('Ends after so long without a job.'),
  maxJobs: z.int().min(1).max(1_000_000).default(1000).describe('Ends after so many jobs.'),
  lifetimeSeconds: z
    .number()
    .min(1)
    .max(2_592_000)
    .default(86_400)
    .describe('Seconds from its start after which the pilot must be gone; jobs are asked for to fit in.'),
  waitSeconds: z
    .number()
    .min(0)
    .max(60)
    .default(20)
    .describe('How long one acquire waits at the server for a job.'),
  killGraceSeconds: z
    .number()
    .min(0)
    .max(600)
    .default(10)
    .describe('Between SIGTERM and SIGKILL to a payload that must end.'),
  sampleMs: z.int().min(20).max(10_000).default(200).describe('Interval of the memory and process watch.'),
  containment: z.enum(['none']).default('none').describe('How payloads are kept from the pilot.'),
  labels: z
    .array(z.enum(labels))
    .min(1)
    .default([...labels])
    .describe('Kinds of jobs this pilot takes.'),
  cores: z.int().min(1).max(4096).optional().describe("Cores offered to jobs; default: the node's."),
  memoryBytes: z
    .int()
    .min(1)
    .optional()
    .describe("Memory offered to jobs; default: the node's, or its cgroup's."),
  diskBytes: z
    .int()
    .min(1)
    .optional()
    .describe('Disk offered to jobs; default: what is free in the sandbox.'),
  minDiskBytes: z
    .int()
    .min(0)
    .default(64 * 2 ** 20)
    .describe('The node is unfit with less free disk than this.'),
  path: z
    .string()
    .max(4096)
    .default('/usr/local/bin:/usr/bin:/bin')
    .describe('PATH of payloads; the pilot passes on nothing of its own environment.'),
  stageConcurrency: z.int().min(1).max(64).default(4).describe('Files moved at the same time.'),
  stageSeconds: z
    .number()
    .min(1)
    .max(86_400)
    .default(3600)
    .describe('Deadline of stage-in, and of stage-out.'),
  enrolPatienceSeconds: z
    .number()
    .min(0)
    .max(3600)
    .default(120)
    .describe('How long to go on when no server answers the enrolment.'),
  trust: z
    .enum(['site', 'bundle', 'prefer-site'])
    .default('prefer-site')
    .describe(
      "Authorities that payloads are pointed at (X509_CERT_DIR, X509_VOMS_DIR): the site's own, the signed bundle of the code store, or the bundle where the site has none in /etc/grid-security/certificates.",
    ),
  recheckSeconds: z
    .number()
    .min(1)
    .max(86_400)
    .default(1200)
    .describe(
      'About how often the code store is asked whether this release was revoked; half to one and a half of it.',
    ),
  resultPatienceSeconds: z
    .number()
    .min(0)
    .max(604_800)
    .default(21_600)
    .describe('How long a result is kept and offered while no server takes it.'),
});

export type AgentConfig = z.output<typeof AgentConfig>;
