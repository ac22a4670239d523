import * as z from 'zod';
import { Floors, QueueChannels } from '../../lib/protocol/release.ts';
import type { ChannelPointer } from '../../lib/protocol/release.ts';
import { compareVersions } from '../../signing/release/channels/compare-versions.ts';

/** What a channel's newest pointer says of versions. */
const ChannelWord = z.object({
  serial: z.int(),
  yanked: z.array(z.string()),
  kill: z.array(z.string()),
  minVersion: z.string().nullable(),
});

/**
 * What the signed store said last, as the servers of an instance keep it in their database: nothing in it goes back, over
 * restarts and from one server to the other.
 */
export const ReleaseState = z.object({
  floors: Floors,
  /** Who signs timestamp and snapshot: their versions count only among versions signed by the same keys. */
  onlineKeys: z.string(),
  /** Until when what was verified may be acted on, epoch milliseconds. */
  freshUntilMs: z.number(),
  channels: z.record(z.string(), ChannelWord),
  queues: QueueChannels.nullable(),
});
export type ReleaseState = z.output<typeof ReleaseState>;

/** `withdrawn`: gets no more jobs; `killed`: ends at once, payload included. */
export type Verdict = 'good' | 'withdrawn' | 'killed';

export const channelWord = (pointer: ChannelPointer): z.output<typeof ChannelWord> => ({
  serial: pointer.serial,
  yanked: pointer.yanked,
  kill: pointer.kill,
  minVersion: pointer.min_version,
});

/**
 * The newer of both in every part. Timestamp and snapshot start over where a newer root gave them to other keys: what the
 * old keys signed may have been driven up by a thief, and nothing newer would ever be accepted (TUF 1.0.31 section 5.3.11).
 */
export function mergeReleaseStates(kept: ReleaseState, seen: ReleaseState): ReleaseState {
  const [older, newer] = kept.floors.root <= seen.floors.root ? [kept, seen] : [seen, kept];
  const sameKeys = older.onlineKeys === newer.onlineKeys;
  const latest = sameKeys && older.floors.timestamp > newer.floors.timestamp ? older : newer;
  const channels = { ...kept.channels };
  for (const [name, word] of Object.entries(seen.channels)) {
    if (word.serial >= (channels[name]?.serial ?? 0)) channels[name] = word;
  }
  const channelSerials = { ...kept.floors.channelSerials };
  for (const [name, serial] of Object.entries(seen.floors.channelSerials)) {
    channelSerials[name] = Math.max(serial, channelSerials[name] ?? 0);
  }
  return {
    floors: {
      root: newer.floors.root,
      timestamp: latest.floors.timestamp,
      snapshot: sameKeys ? Math.max(older.floors.snapshot, newer.floors.snapshot) : newer.floors.snapshot,
      channelSerials,
      signedTimeMs: Math.max(kept.floors.signedTimeMs, seen.floors.signedTimeMs),
    },
    onlineKeys: newer.onlineKeys,
    freshUntilMs: latest.freshUntilMs,
    channels,
    queues: (kept.queues?.serial ?? 0) > (seen.queues?.serial ?? 0) ? kept.queues : seen.queues,
  };
}

/**
 * What the managers say of a version: a word of any channel counts, whatever channel a pilot says that it follows; the
 * least version is that of the queue's own channel.
 */
export function judgeVersion(state: ReleaseState, version: string, queue: string): Verdict {
  const words = Object.values(state.channels);
  if (words.some(({ kill }) => kill.includes(version))) return 'killed';
  if (words.some(({ yanked }) => yanked.includes(version))) return 'withdrawn';
  const least = state.channels[channelOf(state.queues, queue)]?.minVersion ?? null;
  return least !== null && compareVersions(version, least) < 0 ? 'withdrawn' : 'good';
}

/** The channel a queue follows by the signed map; empty before there is one. */
export const channelOf = (queues: QueueChannels | null, queue: string): string =>
  queues === null ? '' : Object.hasOwn(queues.queues, queue) ? queues.queues[queue]! : queues.default;
