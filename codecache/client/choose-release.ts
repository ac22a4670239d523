import type { TargetFile } from '@tufjs/models';
import * as z from 'zod';
import { ChannelPointer, QueueChannels } from '../../lib/protocol/release.ts';
import type { Floors } from '../../lib/protocol/release.ts';
import { signingError } from '../../signing/errors.ts';
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

/**
 * Which build the pointer wants here and now: `current`, or before `not_before` the previous one.
 *
 * @throws E_CHANNEL_YANKED, E_CHANNEL_FLOOR (min_version), E_TUF_FORMAT (not before, without a previous release),
 *   E_ARCH_UNSUPPORTED.
 */
export function chooseRelease(pointer: ChannelPointer, arch: string, nowMs: number, where: string): Choice {
  const early = nowMs < pointer.not_before * 1000;
  const build = early ? pointer.previous : pointer.current;
  if (build === null) {
    throw signingError({
      code: 'E_TUF_FORMAT',
      message: 'The pointer is not to be followed yet and names no previous release.',
      where,
      found: `not_before ${pointer.not_before}`,
      fix: 'Wait until then, or check the clock of this machine.',
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

/** Numbers between dots, dashes and pluses, from the left, 0 for what is missing; the wrapper compares in the same way. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map(text => text.split(/[.+-]/).map(part => Number.parseInt(part, 10) || 0));
  for (let i = 0; i < Math.max(left!.length, right!.length); i += 1) {
    const [a, b] = [left![i] ?? 0, right![i] ?? 0];
    if (a !== b) return a < b ? -1 : 1;
  }
  return 0;
}
