import type { TargetFile } from '@tufjs/models';
import { ChannelPointer } from '../../../lib/protocol/release.ts';
import type { Floors } from '../../../lib/protocol/release.ts';
import { signingError } from '../../errors.ts';

export interface Artefact {
  path: string;
  sha256: string;
  version: string;
}

/** A small signed target by its schema. @throws E_TUF_FORMAT naming the file. */
export function parseTarget<T>(schema: { parse(value: unknown): T }, bytes: Uint8Array, where: string): T {
  try {
    return schema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (error) {
    throw signingError({
      code: 'E_TUF_FORMAT',
      message: 'The signed file does not have the form it must have.',
      where,
      fix: 'This program may be too old for the repository; update it.',
      cause: error,
    });
  }
}

/**
 * The pointer of a channel. One whose release was withdrawn is as valid as any: so it is that a revocation arrives.
 *
 * @throws E_TUF_FORMAT, E_CHANNEL_MISMATCH (another channel's), E_CHANNEL_FLOOR (below the serial floor).
 */
export function verifyPointer(
  bytes: Uint8Array,
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
      fix: 'Tell the release managers: the channel was signed wrongly.',
    });
  }
  const least = floors?.channelSerials[channel] ?? 0;
  if (pointer.serial < least) {
    throw signingError({
      code: 'E_CHANNEL_FLOOR',
      message: `The pointer of channel ${channel} is older than it is known to be.`,
      where,
      expected: `serial ${least} or later`,
      found: `serial ${pointer.serial}`,
      fix: 'Use another cache: this one withholds the newer pointer.',
    });
  }
  return pointer;
}

/** Artefacts that a pointer may have started, so that `releases` must sign them; of withdrawn versions there are none. */
export const startable = ({ current, previous, yanked }: ChannelPointer): Artefact[] =>
  [current, previous]
    .filter(build => build !== null)
    .filter(({ version }) => !yanked.includes(version))
    .flatMap(({ pilot, runtimes }) => [pilot, ...Object.values(runtimes)]);

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
    fix: 'Promote a release that was added to this repository.',
  });
}

export const unknownTarget = (path: string, where: string) =>
  signingError({
    code: 'E_TARGET_UNKNOWN',
    message: `No role that may sign it signs ${path}.`,
    where,
    fix: 'Check that the queue follows a channel that has a release.',
  });
