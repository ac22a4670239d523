import * as z from 'zod';
import { causeCodes } from '../job-causes.ts';
import { jobStates } from '../job-states.ts';
import { ReleaseRef } from './release.ts';
import { bytes, count, fileName, id, seconds, sha256, stageUrl, text, word } from './words.ts';

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
export const PilotCommand = z.object({
  id,
  verb: z.enum(commandVerbs),
  reason: text(500).default(''),
  because: word
    .nullable()
    .default(null)
    .describe(
      'release-revoked: the pilot is to leave, too. A word and not a verb, so that older pilots end all the same.',
    ),
});

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
  serverVersion: text(100)
    .nullable()
    .default(null)
    .describe('Version and commit of the server that gave the attempt out.'),
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

export type JobDefinition = z.output<typeof JobDefinition>;
export type JobDefinitionInput = z.input<typeof JobDefinition>;
export type Lease = z.output<typeof Lease>;
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
