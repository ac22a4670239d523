import * as z from 'zod';
import { count, id, pem, sha256, text, word } from './words.ts';

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

export type ReleaseRef = z.output<typeof ReleaseRef>;
export type Floors = z.output<typeof Floors>;
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
  yanked: z
    .array(word)
    .max(1000)
    .describe('Withdrawn versions: nothing starts them; running pilots end after their payload.'),
  kill: z
    .array(word)
    .max(1000)
    .default([])
    .describe('Those of them whose running pilots end at once, payload included.'),
  rollout: z
    .object({
      percent: z
        .int()
        .min(0)
        .max(100)
        .describe('Share of the nodes that take `current`; the others stay on `previous`.'),
      seed: text(64).describe(
        'With site and node it decides which nodes: the same for as long as the seed stays.',
      ),
      sites: z.array(word).max(10_000).describe('Only these sites take part; empty: all.'),
    })
    .describe('A node takes part when first 7 hex digits of sha256("seed\\nsite\\nnode") mod 100 < percent.'),
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

const isWebUrl = (url: string): boolean => /^https?:\/\/[^\s|;>]+$/.test(url) && URL.canParse(url);

/** `http://host:port` and nothing more: no path, no user. */
const isProxy = (url: string): boolean => /^http:\/\/[^\s|;>/@?#]+$/.test(url) && URL.canParse(url);

/** A URL, or one behind a site's forward proxy, `http://squid:3128>http://store:8090`: over https: it could keep nothing. */
function isWay(way: string): boolean {
  const [first = '', second, ...more] = way.split('>');
  if (second === undefined) return isWebUrl(first);
  return isProxy(first) && second.startsWith('http:') && isWebUrl(second) && more.length === 0;
}

/** What {@link CacheGroup} takes, in words. */
export const cacheGroupRule =
  "URLs of http: or https:, with | between those of one group; 'http://squid:3128>http://store:8090' goes through a forward proxy";

/**
 * Ways to the code store, of one group, `http://a|http://b`: any of them, begun at a random one; a list of groups is
 * tried in order. What is not listed is never used, the origin included, whatever proxies the environment names.
 */
export const CacheGroup = z
  .string()
  .max(2000)
  .refine(group => group.split('|').length <= 16 && group.split('|').every(isWay), cacheGroupRule);

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
  caches: z
    .array(CacheGroup)
    .min(1)
    .max(16)
    .describe(
      'Caching proxies or origins of the code store: groups in order, | between those of one group, > behind a forward proxy.',
    ),
  site: word
    .default('none')
    .describe('Site of the queue; with the node it decides who takes part in a rollout.'),
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
