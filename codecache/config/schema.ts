import * as z from 'zod';
import { BYTE_SIZE, readByteSize } from '../../lib/byte-size.ts';
import { upstreamGroups, upstreamUrl } from './upstream-group.ts';

const listen = z.string().min(3).max(300);
const seconds = (max: number) => z.number().min(0.01).max(max);
const SIZE_EXPECTED = 'a number of bytes is expected, or a size such as 512MiB or 20GiB';
const bytes = z
  .union([z.int(), z.string().regex(BYTE_SIZE, SIZE_EXPECTED)], SIZE_EXPECTED)
  .transform(size => (typeof size === 'number' ? size : readByteSize(size)))
  .pipe(z.int().min(1024));

/** Settings of `pilotage store serve`; environment PILOTAGE_STORE_SERVE_…. */
export const StoreServeConfig = z.strictObject({
  dir: z
    .string()
    .min(1)
    .optional()
    .describe('Public part of a release repository: R/public, or an export, with metadata/ and targets/.'),
  repo: z
    .string()
    .min(1)
    .optional()
    .describe(
      'In the place of `dir`: a release repository itself, its directory or the address of its database.',
    ),
  listen: listen.default('127.0.0.1:8090').describe('HOST:PORT; port 0 takes any free port.'),
  idleSeconds: seconds(3600).default(60).describe('A connection without a byte for this long is closed.'),
  headerSeconds: seconds(300).default(10).describe('A request header must be complete within this.'),
  maxConnections: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(8192)
    .describe('More connections than this are refused.'),
  accessLog: z
    .string()
    .min(1)
    .optional()
    .describe(
      'File for one JSON line per answer, opened again on SIGHUP; "-" for the log of the program. None without it.',
    ),
  history: z
    .boolean()
    .default(true)
    .describe('Whether /history shows what was published, by whom, and what changed.'),
});

/** Settings of `pilotage cache serve`; environment PILOTAGE_CACHE_SERVE_…. */
export const CacheServeConfig = z.strictObject({
  upstreams: upstreamGroups.describe(
    'Origins or other caches, in order of preference; those of one group have "|" between them.',
  ),
  siblings: z
    .array(upstreamUrl)
    .max(16)
    .default([])
    .describe('Caches beside this one: asked for what they have, before an upstream is.'),
  allowedOrigins: z
    .array(upstreamUrl)
    .max(64)
    .optional()
    .describe(
      'Origins that clients may name (forward proxy, GET http://origin/…); without it the upstreams.',
    ),
  dir: z
    .string('name a directory for what is kept with --dir')
    .min(1)
    .describe('Directory for what is kept; made when missing.'),
  listen: listen.default('127.0.0.1:8091').describe('HOST:PORT; port 0 takes any free port.'),
  processes: z
    .int()
    .min(1)
    .max(64)
    .default(1)
    .describe('Processes that answer; they share the disk, and each has its own memory.'),
  memoryBytes: bytes
    .prefault('128MiB')
    .describe('Of objects held in memory by each process; least recently used ones go first.'),
  maxMemoryObjectBytes: bytes
    .optional()
    .describe('Larger objects are answered from disk; without it half of memoryBytes.'),
  maxStoreBytes: bytes.prefault('20GiB').describe('Disk quota; least recently used objects go first.'),
  maxObjectBytes: bytes.prefault('1GiB').describe('Largest hash-named object that is fetched.'),
  maxMetadataBytes: bytes.prefault('1MiB').describe('Largest metadata file that is fetched.'),
  connectSeconds: seconds(60).default(5).describe('Deadline for connecting to an upstream.'),
  headerWaitSeconds: seconds(300).default(15).describe("Deadline for an upstream's response header."),
  stallSeconds: seconds(600)
    .default(30)
    .describe('An upstream that sends no byte for this long has failed; slow is not failed.'),
  totalSeconds: seconds(86_400).default(3600).describe('Deadline for one whole answer of an upstream.'),
  idleSeconds: seconds(3600)
    .default(60)
    .describe('A client connection without a byte for this long is closed.'),
  headerSeconds: seconds(300).default(10).describe("A client's request header must be complete within this."),
  maxConnections: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(8192)
    .describe('More connections of one process than this are refused.'),
  accessLog: z
    .string()
    .min(1)
    .optional()
    .describe(
      'File for one JSON line per answer, opened again on SIGHUP; "-" for the log of the program. None without it.',
    ),
  drainSeconds: seconds(3600)
    .default(30)
    .describe('At the end and at a restart, answers under way have this long to finish.'),
});

export type StoreServeConfig = z.output<typeof StoreServeConfig>;
export type CacheServeConfig = z.output<typeof CacheServeConfig>;
