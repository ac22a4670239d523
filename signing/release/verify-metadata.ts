import type { Metadata, Root, TargetFile, Targets } from '@tufjs/models';
import { ChannelPointer, QueueChannels, type Floors } from '../../lib/protocol/release.ts';
import { signingError, type VerificationErrorCode } from '../errors.ts';
import { channels, channelTarget, QUEUES_TARGET } from './layout.ts';
import { parseMetadata, sha256Of } from './role-metadata.ts';
import { checkTarget } from './target-files.ts';
import { verifyDelegate, type AnyMetadata } from './verify-delegate.ts';

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
  channels: Record<string, ChannelPointer>;
  queues: QueueChannels | null;
  /** Every target of the roles that were given, by path, as the role that may sign that path says. */
  targets: Map<string, TargetFile>;
}

/** Local clocks may be this far behind the newest signed time, milliseconds. */
const CLOCK_TOLERANCE_MS = 300_000;

/**
 * Verifies one consistent set of release metadata: root chain, timestamp, snapshot, targets, delegated roles, channel
 * pointers (TUF 1.0.31 section 5; design "Cold nodes know floors"). Pure: bytes and time in, verified values out.
 *
 * @param options.where the cache or directory the bytes came from, for errors.
 * @param options.floors refuses what is older than these.
 * @throws E_TUF_FORMAT, E_TUF_SIGNATURE, E_TUF_EXPIRED, E_TUF_ROLLBACK, E_TUF_STALE, E_TUF_HASH, E_TARGET_HASH,
 * E_TARGET_LENGTH, E_TARGET_UNKNOWN, E_CHANNEL_MISMATCH, E_CHANNEL_YANKED, E_CHANNEL_FLOOR, E_CLOCK; each naming the file.
 */
export function verifyMetadata(
  bytes: MetadataBytes,
  options: { nowMs: number; where: string; floors?: Floors | null },
): VerifiedMetadata {
  const { nowMs, floors } = options;
  const at = (name: string) => `${options.where}/${name}`;
  const verified: VerifiedMetadata = {
    floors: { root: 0, timestamp: 0, snapshot: 0, channelSerials: {}, signedTimeMs: 0 },
    versions: {},
    expiresMs: {},
    channels: {},
    queues: null,
    targets: new Map(),
  };
  const accept = (role: string, metadata: AnyMetadata, where: string) => {
    const expiresMs = Date.parse(metadata.signed.expires);
    if (!(nowMs < expiresMs)) throw expired(role, where, metadata.signed.expires);
    verified.versions[role] = metadata.signed.version;
    verified.expiresMs[role] = expiresMs;
  };
  const floor = (
    code: VerificationErrorCode,
    what: string,
    where: string,
    least: number | undefined,
    found: number,
  ) => {
    if (least !== undefined && found < least) throw older(code, what, where, least, found);
  };

  const root = verifyRoots(bytes.roots, at);
  const rootFile = at(`metadata/${root.signed.version}.root.json`);
  accept('root', root, rootFile);
  floor('E_TUF_ROLLBACK', 'root', rootFile, floors?.root, root.signed.version);

  const timestampFile = at('metadata/timestamp.json');
  const timestamp = parseMetadata('timestamp', bytes.timestamp, timestampFile);
  delegate(root, 'timestamp', timestamp, timestampFile);
  const signedMs = timestamp.signed.unrecognizedFields['x-pilotage-signed-ms'];
  const signedTimeMs = Math.max(typeof signedMs === 'number' ? signedMs : 0, floors?.signedTimeMs ?? 0);
  if (nowMs + CLOCK_TOLERANCE_MS < signedTimeMs) throw clockBehind(timestampFile, nowMs, signedTimeMs);
  floor('E_TUF_STALE', 'timestamp', timestampFile, floors?.timestamp, timestamp.signed.version);
  accept('timestamp', timestamp, timestampFile);

  const { snapshotMeta } = timestamp.signed;
  const snapshotFile = at(`metadata/${snapshotMeta.version}.snapshot.json`);
  checkMeta(snapshotMeta, bytes.snapshot, snapshotFile, 'timestamp');
  const snapshot = parseMetadata('snapshot', bytes.snapshot, snapshotFile);
  delegate(root, 'snapshot', snapshot, snapshotFile);
  checkVersion(snapshot, snapshotMeta.version, snapshotFile, 'timestamp');
  floor('E_TUF_ROLLBACK', 'snapshot', snapshotFile, floors?.snapshot, snapshot.signed.version);
  accept('snapshot', snapshot, snapshotFile);

  const loadTargets = (role: string, content: Uint8Array, delegator: Metadata<Root> | Metadata<Targets>) => {
    const meta = snapshot.signed.meta[`${role}.json`];
    const file = at(`metadata/${meta?.version ?? 0}.${role}.json`);
    if (!meta) throw unknownTarget(`The snapshot names no role "${role}".`, file);
    checkMeta(meta, content, file, 'snapshot');
    const metadata = parseMetadata('targets', content, file);
    delegate(delegator, role, metadata, file);
    checkVersion(metadata, meta.version, file, 'snapshot');
    accept(role, metadata, file);
    return metadata;
  };
  const targets = loadTargets('targets', bytes.targets, root);
  const roles = new Map<string, Metadata<Targets>>();
  for (const [role, content] of Object.entries(bytes.roles))
    roles.set(role, loadTargets(role, content, targets));
  collectTargets(verified.targets, targets, roles);

  const fileOf = (path: string): Uint8Array | null => {
    const content = bytes.files?.[path];
    if (content === undefined) return null;
    const target = verified.targets.get(path);
    if (!target) throw unknownTarget(`No role signed the target ${path}.`, at(`targets/${path}`));
    checkTarget(at(`targets/${path}`), target, content.length, sha256Of(content));
    return content;
  };
  for (const channel of channels) {
    const path = channelTarget(channel);
    const content = fileOf(path);
    if (!content) continue;
    const pointer = verifyPointer(content, channel, verified.targets, at(`targets/${path}`));
    floor(
      'E_CHANNEL_FLOOR',
      `channel ${channel}`,
      at(`targets/${path}`),
      floors?.channelSerials[channel],
      pointer.serial,
    );
    verified.channels[channel] = pointer;
    verified.floors.channelSerials[channel] = pointer.serial;
  }
  const queueMap = fileOf(QUEUES_TARGET);
  if (queueMap) verified.queues = parseTarget(QueueChannels, queueMap, at(`targets/${QUEUES_TARGET}`));

  verified.floors.root = root.signed.version;
  verified.floors.timestamp = timestamp.signed.version;
  verified.floors.snapshot = snapshot.signed.version;
  verified.floors.signedTimeMs = signedTimeMs;
  return verified;
}

/**
 * Checks a pointer against what `releases` signed: only a build that both name is run.
 *
 * @throws E_CHANNEL_MISMATCH, E_CHANNEL_YANKED, E_TUF_FORMAT.
 */
export function verifyPointer(
  bytes: Uint8Array,
  channel: string,
  targets: ReadonlyMap<string, TargetFile>,
  where: string,
): ChannelPointer {
  const pointer = parseTarget(ChannelPointer, bytes, where);
  const mismatch = (message: string, expected: string, found: string) =>
    signingError({
      code: 'E_CHANNEL_MISMATCH',
      message,
      where,
      expected,
      found,
      rule: 'a channel names only builds that the role releases signed, by the same sha256',
      fix: 'Promote a release that was added to this repository.',
    });
  if (pointer.channel !== channel) {
    throw mismatch('The pointer belongs to another channel.', channel, pointer.channel);
  }
  if (pointer.yanked.includes(pointer.current.version)) {
    throw signingError({
      code: 'E_CHANNEL_YANKED',
      message: `The release ${pointer.current.version} was withdrawn.`,
      where,
      fix: 'Promote another release to the channel.',
    });
  }
  for (const artefact of [pointer.current.pilot, ...Object.values(pointer.current.runtimes)]) {
    const signed = targets.get(artefact.path)?.hashes.sha256;
    if (signed !== artefact.sha256) {
      throw mismatch(
        `The pointer names ${artefact.path} with another hash than was signed for it.`,
        signed ?? 'a signed target',
        artefact.sha256,
      );
    }
  }
  return pointer;
}

/** The trusted root may be expired; the last one may not (TUF 1.0.31 section 5.3). */
function verifyRoots(roots: readonly Uint8Array[], at: (name: string) => string): Metadata<Root> {
  let trusted: Metadata<Root> | undefined;
  for (const content of roots) {
    const expected = (trusted?.signed.version ?? 0) + 1;
    const where = at(trusted ? `metadata/${expected}.root.json` : 'root.json');
    const next = parseMetadata('root', content, where);
    if (trusted) {
      delegate(trusted, 'root', next, where);
      checkVersion(next, expected, where, 'root chain');
    }
    delegate(next, 'root', next, where);
    trusted = next;
  }
  if (trusted) return trusted;
  throw signingError({
    code: 'E_TUF_FORMAT',
    message: 'There is no root to start from.',
    where: at('root.json'),
    fix: 'Give the pinned root.',
  });
}

const delegate = (
  delegator: Metadata<Root> | Metadata<Targets>,
  role: string,
  metadata: AnyMetadata,
  where: string,
): void =>
  verifyDelegate(delegator, role, metadata, {
    message: `The role "${role}" is not signed by enough of its keys`,
    where,
    rule: `threshold of ${role}`,
    fix: 'Use another cache; if all caches give this file, tell the release managers.',
  });

function checkMeta(
  meta: { version: number; length?: number; hashes?: Record<string, string> },
  content: Uint8Array,
  where: string,
  namedBy: string,
): void {
  const found = sha256Of(content);
  const expected = meta.hashes?.sha256;
  if (expected === found && meta.length === content.length) return;
  throw signingError({
    code: 'E_TUF_HASH',
    message: `The file is not the one that ${namedBy} names.`,
    where,
    expected: `sha256 ${expected ?? 'none'}, ${meta.length ?? 'no'} bytes`,
    found: `sha256 ${found}, ${content.length} bytes`,
    fix: 'Fetch it again, past the cache or from another one.',
  });
}

function checkVersion(metadata: AnyMetadata, expected: number, where: string, namedBy: string): void {
  if (metadata.signed.version !== expected) {
    throw older(
      'E_TUF_ROLLBACK',
      `version that ${namedBy} asks for`,
      where,
      expected,
      metadata.signed.version,
    );
  }
}

/** First match wins, in the order in which `targets` lists its delegations; a role answers only for its own paths. */
function collectTargets(
  found: Map<string, TargetFile>,
  targets: Metadata<Targets>,
  roles: ReadonlyMap<string, Metadata<Targets>>,
): void {
  for (const [path, target] of Object.entries(targets.signed.targets)) found.set(path, target);
  const order = Object.values(targets.signed.delegations?.roles ?? {});
  for (const delegation of order) {
    const signed = roles.get(delegation.name)?.signed;
    for (const [path, target] of Object.entries(signed?.targets ?? {})) {
      const first = order.find(other => other.isDelegatedPath(path));
      if (first?.name === delegation.name && !found.has(path)) found.set(path, target);
    }
  }
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

const expired = (role: string, where: string, expires: string) =>
  signingError({
    code: 'E_TUF_EXPIRED',
    message: `The signature of the role "${role}" expired on ${expires}.`,
    where,
    rule: `expiry of ${role}`,
    fix:
      role === 'timestamp' || role === 'snapshot'
        ? 'Use another cache; in the repository, run "pilotage release refresh".'
        : `Have the role signed again: pilotage release resign ${role}, then release publish.`,
  });

const older = (code: VerificationErrorCode, what: string, where: string, least: number, found: number) =>
  signingError({
    code,
    message: `The ${what} is not the version that is asked for.`,
    where,
    expected: code === 'E_TUF_ROLLBACK' ? `version ${least}` : `at least ${least}`,
    found: String(found),
    rule: 'nothing older than what was seen is accepted',
    fix: 'Use another cache: this one is behind or withholds the newer version.',
  });

const clockBehind = (where: string, nowMs: number, signedMs: number) =>
  signingError({
    code: 'E_CLOCK',
    message: 'The clock of this machine is behind the time at which the metadata was signed.',
    where,
    expected: `at least ${new Date(signedMs).toISOString()}`,
    found: new Date(nowMs).toISOString(),
    fix: 'Set the clock of this machine.',
  });

const unknownTarget = (message: string, where: string) =>
  signingError({ code: 'E_TARGET_UNKNOWN', message, where, fix: 'Check the name; use another cache.' });
