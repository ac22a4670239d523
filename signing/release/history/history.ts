import type { TargetFile } from '@tufjs/models';
import { describeRelease, type ReleaseDescription } from './describe-release.ts';
import type { LogEntry } from '../repository/event-log.ts';
import { channels, type Channel } from '../layout.ts';

/** One signing event of a version or a channel. */
export interface HistoryEvent {
  /** Number in the event log. */
  seq: number;
  /** When it was signed, ISO 8601. */
  at: string;
  /** When it became public; null: not yet. */
  publicAt: string | null;
  by: string;
  action: string;
  /** Names of the keys that signed. */
  keys: string[];
}

/** What a channel pointed at from one publication to the next. */
export interface ChannelMove extends HistoryEvent {
  channel: Channel;
  version: string;
  serial: number;
  previous: string | null;
  /** Null in entries that are older than rollouts. */
  percent: number | null;
  /** Number of sites that took part; 0: all. */
  sites: number | null;
  /** The version that this event withdrew. */
  revoked: string | null;
  /** When the next pointer became public; null: it is the one in force, or not public yet. */
  until: string | null;
}

export interface VersionHistory {
  version: string;
  sha256: string;
  commit: string;
  added: HistoryEvent;
  /** When it was taken out of `releases`. */
  revoked: HistoryEvent | null;
  /** What is signed of it now; null when it is not (any more). */
  release: ReleaseDescription | null;
  /** The pointers that had it as their current release, oldest first. */
  channels: ChannelMove[];
}

export interface ReleaseHistory {
  /** Newest first. */
  versions: VersionHistory[];
  /** Every pointer of every channel, oldest first. */
  channels: Record<Channel, ChannelMove[]>;
}

/**
 * The revision history of the pilot: each version, who signed it when and from which commit, and which channel pointed
 * at it when. Pure. What was signed and replaced before it was published is left out.
 *
 * @param entries the verified event log, oldest first.
 * @param targets verified targets by path.
 */
export function historyOf(
  entries: readonly LogEntry[],
  targets: ReadonlyMap<string, TargetFile>,
): ReleaseHistory {
  const builds: Build[] = [];
  const moves: Record<Channel, ChannelMove[]> = { stable: [], canary: [], dev: [] };
  let waiting: HistoryEvent[] = [];
  for (const entry of entries) {
    // In force is only what enough people signed: that is logged again, with all of them.
    if (entry.action === 'propose') continue;
    const channel = channels.find(name => name === entry.role);
    if (channel && 'serial' in entry.details) {
      // The version staged before is dropped: only the last one of a publication is ever seen.
      if (moves[channel].at(-1)?.publicAt === null) moves[channel].pop();
      const move = moveOf(channel, entry);
      moves[channel].push(move);
      waiting.push(move);
    } else if (entry.role === 'releases' && entry.action !== 'init') {
      const build: Build = { ...eventOf(entry), details: entry.details };
      builds.push(build);
      waiting.push(build);
    } else if (entry.role === 'timestamp' && entry.action !== 'refresh') {
      for (const event of waiting) event.publicAt = entry.at;
      waiting = [];
    }
  }
  for (const list of Object.values(moves)) {
    list.forEach((move, index) => (move.until = list[index + 1]?.publicAt ?? null));
  }
  return { versions: versionsOf(builds, moves, targets), channels: moves };
}

type Build = HistoryEvent & { details: LogEntry['details'] };

function versionsOf(
  builds: readonly Build[],
  moves: Record<Channel, ChannelMove[]>,
  targets: ReadonlyMap<string, TargetFile>,
): VersionHistory[] {
  const versions = new Map<string, VersionHistory>();
  for (const { details, ...event } of builds) {
    const target = textIn(details, 'target') ?? '';
    const version = /^pilot\/([^/]+)\/pilot-\1\.tar\.gz$/.exec(target)?.[1];
    if (event.action === 'add' && version !== undefined && !versions.has(version)) {
      const release = describeRelease(targets, version);
      versions.set(version, {
        version,
        sha256: textIn(details, 'targetSha256') ?? '',
        commit: release?.commit ?? textIn(details, 'commit') ?? 'unknown',
        added: event,
        revoked: null,
        release,
        channels: channels.flatMap(channel => moves[channel].filter(move => move.version === version)),
      });
    }
    const revoked = versions.get(textIn(details, 'revoked') ?? '');
    if (revoked && event.action === 'revoke') revoked.revoked = event;
  }
  return [...versions.values()].reverse();
}

const eventOf = ({ seq, at, by, action, keys }: LogEntry): HistoryEvent => ({
  seq,
  at,
  publicAt: null,
  by,
  action,
  keys: keys.map(({ name }) => name),
});

const moveOf = (channel: Channel, entry: LogEntry): ChannelMove => ({
  ...eventOf(entry),
  channel,
  version: textIn(entry.details, 'pilot') ?? '',
  serial: numberIn(entry.details, 'serial') ?? 0,
  previous: textIn(entry.details, 'previous'),
  percent: numberIn(entry.details, 'percent'),
  sites: numberIn(entry.details, 'sites'),
  revoked: textIn(entry.details, 'revoked'),
  until: null,
});

const textIn = (details: LogEntry['details'], name: string): string | null => {
  const value = details[name];
  return typeof value === 'string' ? value : null;
};

const numberIn = (details: LogEntry['details'], name: string): number | null => {
  const value = details[name];
  return typeof value === 'number' ? value : null;
};
