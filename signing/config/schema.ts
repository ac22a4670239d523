import * as z from 'zod';

const DAY = 86_400;
const seconds = z
  .int()
  .min(60)
  .max(3650 * DAY);
const keyCount = z.int().min(1).max(16);

const period = (expiresSeconds: number, resignSeconds: number) => ({
  expiresSeconds: seconds.default(expiresSeconds).describe('Life of a signature, seconds.'),
  resignSeconds: seconds
    .default(resignSeconds)
    .describe('With less than this many seconds left, the role is reported as due (snapshot: signed again).'),
});

const topLevel = (keys: number, threshold: number, expiresSeconds: number, resignSeconds: number) =>
  z
    .strictObject({
      keys: keyCount.default(keys).describe('Number of keys, one file each.'),
      threshold: keyCount.default(threshold).describe('Signatures needed.'),
      ...period(expiresSeconds, resignSeconds),
    })
    .refine(role => role.threshold <= role.keys, 'the threshold is larger than the number of keys')
    .prefault({});

const delegated = (threshold: number, expiresSeconds: number, resignSeconds: number) =>
  z
    .strictObject({
      threshold: keyCount.default(threshold).describe('Signatures needed.'),
      ...period(expiresSeconds, resignSeconds),
    })
    .prefault({});

/** Roles, keys and periods of a release repository; recorded in it by `release init` (code-store 4.1). */
export const ReleaseConfig = z
  .strictObject({
    root: topLevel(3, 2, 365 * DAY, 60 * DAY).describe('Signs the keys of all roles; offline.'),
    targets: topLevel(3, 2, 180 * DAY, 45 * DAY).describe('Signs delegations only; offline.'),
    managers: keyCount
      .default(3)
      .describe(
        'Release managers; their keys sign stable, canary, dev and queues, and releases beside the builder.',
      ),
    releases: delegated(1, 90 * DAY, 30 * DAY).describe(
      'Authentic builds; signed by the builder and the managers.',
    ),
    stable: delegated(2, 60 * DAY, 20 * DAY).describe('Pointer of the stable channel.'),
    canary: delegated(1, 30 * DAY, 10 * DAY).describe('Pointer of the canary channel.'),
    dev: delegated(1, 14 * DAY, 5 * DAY).describe('Pointer of the dev channel.'),
    queues: delegated(2, 60 * DAY, 20 * DAY).describe('Which channel each queue follows.'),
    trust: delegated(1, 14 * DAY, 5 * DAY).describe(
      'Trust anchors for bare nodes (CAs, CRLs, LSC files, policies); signed often, by a key of its own.',
    ),
    snapshot: topLevel(1, 1, 7 * DAY, 6 * DAY).describe('Versions of all metadata; online.'),
    timestamp: topLevel(1, 1, DAY, DAY / 2).describe(
      'Newest snapshot; online, signed again every 30 to 60 minutes.',
    ),
    defaultChannel: z
      .enum(['stable', 'canary', 'dev'])
      .default('stable')
      .describe('Channel of queues that are not named in the queue map.'),
    bareNodes: z
      .boolean()
      .default(true)
      .describe(
        'Nodes without Node verify too: they count ECDSA keys only, so each role must have enough of them.',
      ),
    scryptN: z
      .int()
      .min(32_768)
      .max(2 ** 20)
      .refine(n => Number.isInteger(Math.log2(n)), 'must be a power of two')
      .default(65_536)
      .describe('Cost of unlocking a new key file.'),
  })
  .refine(
    config =>
      [config.stable, config.canary, config.dev, config.queues].every(
        role => role.threshold <= config.managers,
      ) && config.releases.threshold <= config.managers + 1,
    { error: 'a threshold is larger than the number of people who may sign', path: ['managers'] },
  );
export type ReleaseConfig = z.output<typeof ReleaseConfig>;
