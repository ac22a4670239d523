import { createHash } from 'node:crypto';
import type { TargetFile } from '@tufjs/models';
import * as z from 'zod';
import { ChannelPointer, QueueChannels } from '../../lib/protocol/release.ts';
import type { Floors } from '../../lib/protocol/release.ts';
import { signingError } from '../../signing/errors.ts';
import { compareVersions } from '../../signing/release/compare-versions.ts';
import { parseTarget } from '../../signing/release/verify-metadata.ts';
import { codecacheError } from '../errors.ts';

export interface Artefact {
  path: string;
  sha256: string;
  version: string;
}

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

/** @throws E_TUF_FORMAT, E_CHANNEL_MISMATCH (another channel's), E_CHANNEL_FLOOR (below the serial floor). */
export function readPointer(
  bytes: Buffer,
  channel: string,
  floors: Floors | null,
  where: string,
): ChannelPointer {
  const pointer = parseTarget(ChannelPointer, bytes, where);
  if (pointer.channel !== channel) {
    throw signingError({
      code: 'E_CHANNEL_MISMATCH',
      message: 'The pointer belongs to another channel.',
      where,
      expected: channel,
      found: pointer.channel,
    });
  }
  const least = floors?.channelSerials[channel] ?? 0;
  if (pointer.serial < least) {
    throw signingError({
      code: 'E_CHANNEL_FLOOR',
      message: `The pointer of channel ${channel} is older than the server knows it.`,
      where,
      expected: `serial ${least} or later`,
      found: `serial ${pointer.serial}`,
      fix: 'Use another cache: this one withholds the newer pointer.',
    });
  }
  return pointer;
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
 * @throws E_CHANNEL_HALTED (there is no previous one), E_CHANNEL_YANKED, E_CHANNEL_FLOOR (min_version),
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
      code: 'E_CHANNEL_FLOOR',
      message: `The release ${build.version} is below the least version of its channel.`,
      where,
      expected: `${pointer.min_version} or later`,
      found: build.version,
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

/** Only a build that channel and `releases` both name, by the same hash, is run. @throws E_TARGET_UNKNOWN, E_CHANNEL_MISMATCH. */
export function sameBuild(artefact: Artefact, signed: TargetFile | undefined, where: string): TargetFile {
  if (signed === undefined) throw unknownTarget(artefact.path, where);
  if (signed.hashes.sha256 === artefact.sha256) return signed;
  throw signingError({
    code: 'E_CHANNEL_MISMATCH',
    message: `The pointer names ${artefact.path} with another hash than was signed for it.`,
    where,
    expected: signed.hashes.sha256 ?? 'none',
    found: artefact.sha256,
    rule: 'a channel names only builds that the role releases signed, by the same sha256',
  });
}

export const unknownTarget = (path: string, where: string) =>
  signingError({
    code: 'E_TARGET_UNKNOWN',
    message: `No role that may sign it signs ${path}.`,
    where,
    fix: 'Check that the queue follows a channel that has a release.',
  });
