import type { TargetFile } from '@tufjs/models';
import type { ChannelPointer } from '../../../lib/protocol/release.ts';
import { PilotageError } from '../../../lib/errors.ts';
import {
  describeRelease,
  type ReleaseDescription,
} from '../../../signing/release/history/describe-release.ts';
import { parseEventLog, type EventLog } from '../../../signing/release/repository/event-log.ts';
import { historyOf, type ReleaseHistory } from '../../../signing/release/history/history.ts';
import { metadataName } from '../../../signing/release/layout.ts';
import { readReleaseMetadata } from '../../../signing/release/metadata/read-public.ts';
import { anchorOf } from '../../../signing/release/repository/repository.ts';
import {
  MAX_METADATA_BYTES,
  parseMetadata,
  sha256Of,
} from '../../../signing/release/metadata/role-metadata.ts';
import { roleTerms, type RoleTerm } from '../../../signing/release/repository/role-terms.ts';
import { verifyMetadata } from '../../../signing/release/metadata/verify-metadata.ts';
import type { PublicFiles } from '../public-files.ts';

/** Everything that the history pages tell, from public files alone. */
export interface StoreHistory {
  history: ReleaseHistory;
  log: Pick<EventLog, 'entries' | 'head'>;
  /** What the signed timestamp says of the log; null in a repository older than that. */
  anchor: { entries: number; head: string; timestamp: number } | null;
  /** Pointers in force. */
  channels: Record<string, ChannelPointer>;
  roles: Record<string, RoleTerm>;
  /** Every target `releases` ever signed, by path. */
  targets: ReadonlyMap<string, TargetFile>;
  /** What is wrong with the metadata or the log, in words; what is shown in spite of it is not proven. */
  problems: string[];
}

const MAX_LOG_BYTES = 256 * 2 ** 20;

/** Reads and verifies; what cannot be verified is named in `problems`, and the rest is given. */
export async function readHistory(files: PublicFiles, nowMs: number): Promise<StoreHistory> {
  const read = (path: string) => readPublic(files, path, MAX_METADATA_BYTES);
  const problems: string[] = [];
  const where = 'public';
  const bytes = await readReleaseMetadata(read, { where });
  const told: StoreHistory = {
    history: { versions: [], channels: { stable: [], canary: [], dev: [] } },
    log: { entries: [], head: '' },
    anchor: null,
    channels: {},
    roles: roleTerms(bytes),
    targets: new Map(),
    problems,
  };
  try {
    told.channels = verifyMetadata(bytes, { nowMs, where }).channels;
  } catch (error) {
    problems.push(inWords(error));
  }
  const timestamp = parseMetadata('timestamp', bytes.timestamp, 'timestamp.json');
  const anchor = anchorOf(timestamp);
  if (anchor) told.anchor = { ...anchor, timestamp: timestamp.signed.version };
  try {
    const text = (await readPublic(files, 'log.jsonl', MAX_LOG_BYTES))?.toString('utf8') ?? '';
    told.log = parseEventLog(text, 'log.jsonl', anchor);
  } catch (error) {
    problems.push(inWords(error));
    return told;
  }
  told.targets = await everSigned(told, read);
  const now = parseMetadata('targets', bytes.roles.releases!, 'releases.json').signed.targets;
  told.history = historyOf(told.log.entries, new Map(Object.entries(now)));
  return told;
}

/** A release of any time, withdrawn ones included; null when it never was or its metadata was cleared away. */
export const releaseOf = (told: StoreHistory, version: string): ReleaseDescription | null =>
  describeRelease(told.targets, version);

/** The log has the hash of every version of `releases`, so that old ones can be believed as well. */
async function everSigned(
  told: StoreHistory,
  read: (path: string) => Promise<Buffer | null>,
): Promise<Map<string, TargetFile>> {
  const found = new Map<string, TargetFile>();
  for (const { role, version, sha256 } of told.log.entries) {
    if (role !== 'releases') continue;
    const bytes = await read(`metadata/${metadataName(role, version)}`);
    // Replaced before it was published, or cleared away.
    if (bytes === null || sha256Of(bytes) !== sha256) continue;
    const { targets } = parseMetadata('targets', bytes, `${version}.releases.json`).signed;
    for (const target of Object.values(targets)) found.set(target.path, target);
  }
  return found;
}

/** A whole public file; null where there is none. */
export async function readPublic(files: PublicFiles, path: string, maxBytes: number): Promise<Buffer | null> {
  const file = await files.open(path);
  if (file === undefined) return null;
  try {
    if (file.size > maxBytes) throw new Error(`${path} has more than ${maxBytes} bytes`);
    return await file.bytes();
  } finally {
    await file.close();
  }
}

const inWords = (error: unknown): string => {
  if (!(error instanceof PilotageError)) return (error as Error).message;
  return `${error.code}: ${[error.message, error.where, error.fix].filter(Boolean).join(' ')}`;
};
