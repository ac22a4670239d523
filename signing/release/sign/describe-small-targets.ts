import type { Targets } from '@tufjs/models';
import type * as z from 'zod';
import { ChannelPointer, QueueChannels } from '../../../lib/protocol/release.ts';
import { describeChannel } from '../channels/describe-channel.ts';
import type { Channel } from '../layout.ts';
import { sameBuild, startable } from '../metadata/verify-pointer.ts';
import type { OpenedRequest } from './open-request.ts';
import { bytesOf, invalidRequest } from './signing-request.ts';

function parseSmall<T>(
  opened: OpenedRequest,
  schema: z.ZodType<T>,
  content: unknown,
  what: string,
): T | null {
  if (content === undefined) return null;
  const parsed = schema.safeParse(content);
  // Fields that this program would leave out are fields that nobody is shown.
  if (parsed.success && bytesOf({ ...parsed.data, ...(content as object) }).equals(bytesOf(parsed.data))) {
    return parsed.data;
  }
  throw invalidRequest(`${what} has not the form of this program's version`, opened.where);
}

/**
 * What a new pointer of a channel changes.
 *
 * @throws E_REQUEST_INVALID, and E_CHANNEL_MISMATCH, E_TARGET_UNKNOWN for a build that `releases` does not sign.
 */
export function channelChanges(
  opened: OpenedRequest,
  channel: Channel,
  was: unknown,
  is: unknown,
  nowMs: number,
): string[] {
  const before = parseSmall(opened, ChannelPointer, was, `the pointer of ${channel}`);
  const next = parseSmall(opened, ChannelPointer, is, `the pointer of ${channel}`)!;
  if (next.channel !== channel || next.serial <= (before?.serial ?? 0)) {
    throw invalidRequest(
      `the pointer of ${channel} is for ${next.channel}, serial ${next.serial} after ${before?.serial ?? 0}`,
      opened.where,
    );
  }
  const pending = opened.items.find(item => item.role === 'releases')?.next.signed as Targets | undefined;
  const signed = { ...opened.releases.signed.targets, ...pending?.targets };
  for (const artefact of startable(next)) sameBuild(artefact, signed[artefact.path], opened.where);
  const changes = [
    `${channel}: ${before?.current.version ?? 'nothing'} -> ${next.current.version} (serial ${before?.serial ?? 0} -> ${next.serial})`,
    `${channel}: ${describeChannel(next, nowMs)}`,
  ];
  for (const artefact of startable(next)) {
    const custom = signed[artefact.path]?.unrecognizedFields.custom as { commit?: string } | undefined;
    changes.push(
      `${channel}: ${artefact.path}, sha256 ${artefact.sha256}${custom?.commit ? `, commit ${custom.commit}` : ''}`,
    );
  }
  const fields: [string, Shown, Shown][] = [
    ['previous release', before?.previous?.version, next.previous?.version],
    ['least version', before?.min_version, next.min_version],
    ['withdrawn', before?.yanked, next.yanked],
    ['withdrawn with running pilots ended', before?.kill, next.kill],
    ['percent of nodes', before?.rollout.percent, next.rollout.percent],
    ['sites', before?.rollout.sites, next.rollout.sites],
    ['seed', before?.rollout.seed, next.rollout.seed],
    ['not before', dateOf(before?.not_before), dateOf(next.not_before)],
  ];
  for (const [name, old, now] of fields) {
    if (text(old) !== text(now)) changes.push(`${channel}: ${name}: ${text(old)} -> ${text(now)}`);
  }
  return changes;
}

type Shown = string | number | readonly string[] | null | undefined;

function text(value: Shown): string {
  if (value === null || value === undefined) return 'none';
  return typeof value === 'object' ? value.join(', ') || 'none' : String(value);
}

const dateOf = (seconds: number | undefined): string | null =>
  seconds === undefined || seconds === 0 ? null : new Date(seconds * 1000).toISOString();

/** What a new queue map changes. @throws E_REQUEST_INVALID. */
export function queueChanges(opened: OpenedRequest, was: unknown, is: unknown): string[] {
  const before = parseSmall(opened, QueueChannels, was, 'the queue map');
  const next = parseSmall(opened, QueueChannels, is, 'the queue map')!;
  if (next.serial <= (before?.serial ?? 0)) {
    throw invalidRequest(
      `the queue map goes back from serial ${before?.serial ?? 0} to ${next.serial}`,
      opened.where,
    );
  }
  const changes = [`queues: serial ${before?.serial ?? 0} -> ${next.serial}`];
  if (before?.default !== next.default) {
    changes.push(`queues: all others: ${before?.default ?? 'nothing'} -> ${next.default}`);
  }
  for (const queue of new Set([...Object.keys(before?.queues ?? {}), ...Object.keys(next.queues)])) {
    const [old, now] = [before?.queues[queue], next.queues[queue]];
    if (old !== now) changes.push(`queues: ${queue}: ${old ?? 'the default'} -> ${now ?? 'the default'}`);
  }
  return changes;
}
