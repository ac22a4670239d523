import * as z from 'zod';

const listen = z.string().min(3).max(300);
const seconds = (max: number) => z.number().min(0.01).max(max);
const bytes = z.int().min(1024);
const httpUrl = z.url({ protocol: /^https?$/, error: 'an http: or https: URL is expected' });

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
  upstreams: z
    .array(httpUrl, 'name the origin or another cache with --upstream URL')
    .min(1)
    .max(16)
    .describe('Origins or other caches, in order of preference.'),
  dir: z
    .string('name a directory for what is kept with --dir')
    .min(1)
    .describe('Directory for what is kept; made when missing.'),
  listen: listen.default('127.0.0.1:8091').describe('HOST:PORT; port 0 takes any free port.'),
  maxStoreBytes: bytes.default(20 * 2 ** 30).describe('Disk quota; least recently used objects go first.'),
  maxObjectBytes: bytes.default(2 ** 30).describe('Largest hash-named object that is fetched.'),
  maxMetadataBytes: bytes.default(2 ** 20).describe('Largest metadata file that is fetched.'),
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
    .describe('More connections than this are refused.'),
});

export type StoreServeConfig = z.output<typeof StoreServeConfig>;
export type CacheServeConfig = z.output<typeof CacheServeConfig>;
