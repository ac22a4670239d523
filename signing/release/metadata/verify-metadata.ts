import type { TargetFile } from '@tufjs/models';
import { QueueChannels, type ChannelPointer, type Floors } from '../../../lib/protocol/release.ts';
import { signingError } from '../../errors.ts';
import { parseTarget, verifyPointer, sameBuild, startable, unknownTarget } from './verify-pointer.ts';
import { checkFloors } from './check-floors.ts';
import { channels, channelTarget, QUEUES_TARGET } from '../layout.ts';
import { sha256Of } from './role-metadata.ts';
import { checkTarget } from '../repository/target-files.ts';
import { TrustedMetadata } from './trusted-metadata.ts';

/** Bytes as they were fetched; nothing in them is trusted but the first root. */
export interface MetadataBytes {
  /** The trusted root first, then each next version in order. */
  roots: readonly Uint8Array[];
  timestamp: Uint8Array;
  snapshot: Uint8Array;
  targets: Uint8Array;
  /** Delegated roles by name; those that are left out are not verified. */
  roles: Readonly<Record<string, Uint8Array>>;
  /** Small targets by path: channel pointers, the queue map; those that are left out are not verified. */
  files?: Readonly<Record<string, Uint8Array>>;
}

export interface VerifiedMetadata {
  /** Versions and serials in force; a later verification given them refuses anything older. */
  floors: Floors;
  /** Version of every role: root, timestamp, snapshot, targets and the delegated ones. */
  versions: Record<string, number>;
  /** When each role expires, epoch milliseconds. */
  expiresMs: Record<string, number>;
  /** Pointers as signed; one that names a withdrawn release is among them. */
  channels: Record<string, ChannelPointer>;
  queues: QueueChannels | null;
  /** Every target of the roles that were given, by path, as the role that may sign that path says. */
  targets: Map<string, TargetFile>;
}

/**
 * Verifies one consistent set of release metadata: root chain, timestamp, snapshot, targets, delegated roles, channel
 * pointers (TUF 1.0.31 section 5; design "Cold nodes know floors"). Pure: bytes and time in, verified values out.
 *
 * @param options.where the cache or directory the bytes came from, for errors.
 * @param options.floors refuses what is older than these.
 * @param options.mayExpire roles that are taken after their expiry too; default none.
 * @throws E_TUF_FORMAT, E_TUF_SIGNATURE, E_TUF_EXPIRED, E_TUF_ROLLBACK, E_TUF_STALE, E_TUF_HASH, E_TARGET_HASH,
 * E_TARGET_LENGTH, E_TARGET_UNKNOWN, E_CHANNEL_MISMATCH, E_CHANNEL_FLOOR, E_CLOCK; each naming the file.
 */
export function verifyMetadata(
  bytes: MetadataBytes,
  options: {
    nowMs: number;
    where: string;
    floors?: Floors | null;
    mayExpire?: (role: string) => boolean;
  },
): VerifiedMetadata {
  const { nowMs, floors = null } = options;
  const at = (name: string) => `${options.where}/${name}`;
  const trusted = verifyRoles(bytes, {
    nowMs,
    at,
    ...(options.mayExpire && { mayExpire: options.mayExpire }),
  });
  const signedTimeMs = checkFloors(trusted, floors);
  const targets = targetsOf(trusted);
  const roles = [...trusted.roles()];
  const channelSerials: Record<string, number> = {};
  const verified: VerifiedMetadata = {
    floors: {
      root: trusted.root.signed.version,
      timestamp: trusted.timestamp.signed.version,
      snapshot: trusted.snapshot.signed.version,
      channelSerials,
      signedTimeMs,
    },
    versions: Object.fromEntries(roles.map(([role, { signed }]) => [role, signed.version])),
    expiresMs: Object.fromEntries(roles.map(([role, { signed }]) => [role, Date.parse(signed.expires)])),
    channels: {},
    queues: null,
    targets,
  };
  const fileOf = (path: string): Uint8Array | null => {
    const content = bytes.files?.[path];
    if (content === undefined) return null;
    const target = targets.get(path);
    if (!target) throw unknownTarget(path, at(`targets/${path}`));
    checkTarget(at(`targets/${path}`), target, content.length, sha256Of(content));
    return content;
  };
  for (const channel of channels) {
    const content = fileOf(channelTarget(channel));
    if (!content) continue;
    const where = at(`targets/${channelTarget(channel)}`);
    const pointer = verifyPointer(content, channel, floors, where);
    for (const artefact of startable(pointer)) sameBuild(artefact, targets.get(artefact.path), where);
    verified.channels[channel] = pointer;
    channelSerials[channel] = pointer.serial;
  }
  const queueMap = fileOf(QUEUES_TARGET);
  if (queueMap) verified.queues = parseTarget(QueueChannels, queueMap, at(`targets/${QUEUES_TARGET}`));
  return verified;
}

function verifyRoles(
  bytes: MetadataBytes,
  options: { nowMs: number; at: (name: string) => string; mayExpire?: (role: string) => boolean },
): TrustedMetadata {
  const [first, ...later] = bytes.roots;
  if (first === undefined) {
    throw signingError({
      code: 'E_TUF_FORMAT',
      message: 'There is no root to start from.',
      where: options.at('root.json'),
      fix: 'Give the pinned root.',
    });
  }
  const trusted = new TrustedMetadata(first, options);
  for (const root of later) trusted.updateRoot(root);
  trusted.updateTimestamp(bytes.timestamp);
  trusted.updateSnapshot(bytes.snapshot);
  trusted.updateTargets({ role: 'targets', delegator: 'root' }, bytes.targets);
  for (const [role, content] of Object.entries(bytes.roles))
    trusted.updateTargets({ role, delegator: 'targets' }, content);
  return trusted;
}

/** What a client would find of every path that a trusted role lists. */
function targetsOf(trusted: TrustedMetadata): Map<string, TargetFile> {
  const found = new Map<string, TargetFile>();
  for (const metadata of trusted.roles().values()) {
    if (!('targets' in metadata.signed)) continue;
    for (const path of Object.keys(metadata.signed.targets)) {
      const search = trusted.search(path);
      let step = search.next();
      while (step.done !== true) step = search.next();
      if (step.value !== undefined) found.set(path, step.value);
    }
  }
  return found;
}
