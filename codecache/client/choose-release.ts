import { createHash } from 'node:crypto';
import * as z from 'zod';
import { QueueChannels } from '../../lib/protocol/release.ts';
import type { ChannelPointer } from '../../lib/protocol/release.ts';
import { signingError } from '../../signing/errors.ts';
import { compareVersions } from '../../signing/release/channels/compare-versions.ts';
import { parseTarget } from '../../signing/release/metadata/verify-pointer.ts';
import type { Artefact } from '../../signing/release/metadata/verify-pointer.ts';
import { codecacheError } from '../errors.ts';

/** What a channel's pointer says for one architecture at one time. */
export interface Choice {
  pointer: ChannelPointer;
  version: string;
  pilot: Artefact;
  runtime: Artefact;
}

/** `custom` of a build target, as far as a node needs it. */
export const BuildCustom = z.object({
  files: z.record(z.string().max(300), z.string().regex(/^[0-9a-f]{64}$/)),
});

/** Channel of a queue by the signed map. @throws E_TUF_FORMAT naming the file. */
export function channelOf(map: Buffer, queue: string, where: string): string {
  const { queues, default: fallback } = parseTarget(QueueChannels, map, where);
  return Object.hasOwn(queues, queue) ? queues[queue]! : fallback;
}

/** Where and when a release is chosen for. */
export interface Place {
  arch: string;
  nowMs: number;
  /** Site of the queue, as `bootstrap.json` has it. */
  site: string;
  /** Host name, as `uname -n` gives it. */
  node: string;
}

/**
 * Whether a node takes part in a rollout: the same nodes for as long as the seed stays, and more of them, never others,
 * as the percentage grows. The wrapper decides in the same way; test/unit/codecache/client/rollout-vectors.json holds both.
 */
export function takesPart(rollout: ChannelPointer['rollout'], site: string, node: string): boolean {
  if (rollout.sites.length > 0 && !rollout.sites.includes(site)) return false;
  return rolloutBucket(rollout.seed, site, node) < rollout.percent;
}

/** 0 to 99. */
export function rolloutBucket(seed: string, site: string, node: string): number {
  const digest = createHash('sha256').update(`${seed}\n${site}\n${node}`).digest('hex');
  return Number.parseInt(digest.slice(0, 7), 16) % 100;
}

/**
 * Which build the pointer wants here and now: `current`, or `previous` for a node that takes no part in the rollout and
 * before `not_before`.
 *
 * @throws E_CHANNEL_HALTED (there is no previous one), E_CHANNEL_YANKED (by `yanked` or `min_version`),
 *   E_ARCH_UNSUPPORTED.
 */
export function chooseRelease(pointer: ChannelPointer, place: Place, where: string): Choice {
  const { arch, nowMs, site, node } = place;
  const early = nowMs < pointer.not_before * 1000;
  const build = early || !takesPart(pointer.rollout, site, node) ? pointer.previous : pointer.current;
  if (build === null) {
    throw signingError({
      code: 'E_CHANNEL_HALTED',
      message: `The release ${pointer.current.version} is not for this node ${early ? 'yet' : 'now'}, and the channel has no previous one.`,
      where,
      expected: early
        ? `a time from ${new Date(pointer.not_before * 1000).toISOString()} on`
        : `a place in the ${pointer.rollout.percent} % of the rollout${pointer.rollout.sites.length > 0 ? `, at one of its ${pointer.rollout.sites.length} sites` : ''}`,
      found: early ? new Date(nowMs).toISOString() : `site ${site}, node ${node}`,
      rule: early ? 'not_before of the channel' : 'rollout of the channel',
      fix: 'Wait for the release managers to widen the rollout, or to promote another release.',
    });
  }
  if (pointer.yanked.includes(build.version)) {
    throw signingError({
      code: 'E_CHANNEL_YANKED',
      message: `The release ${build.version} was withdrawn.`,
      where,
      fix: 'Wait for the release managers to point the channel elsewhere.',
    });
  }
  if (pointer.min_version !== null && compareVersions(build.version, pointer.min_version) < 0) {
    throw signingError({
      code: 'E_CHANNEL_YANKED',
      message: `The release ${build.version} is below the least version of its channel.`,
      where,
      expected: `${pointer.min_version} or later`,
      found: build.version,
      rule: 'min_version of the channel',
      fix: 'Wait for the release managers to point the channel elsewhere.',
    });
  }
  const runtime = build.runtimes[arch];
  if (runtime === undefined) {
    throw codecacheError({
      code: 'E_ARCH_UNSUPPORTED',
      message: 'The channel has no runtime for this architecture.',
      where,
      expected: Object.keys(build.runtimes).join(', '),
      found: arch,
      fix: 'Publish a runtime for it, or use another node.',
    });
  }
  return { pointer, version: build.version, pilot: build.pilot, runtime };
}
