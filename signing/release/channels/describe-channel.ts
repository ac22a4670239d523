import type { ChannelPointer } from '../../../lib/protocol/release.ts';
import { compareVersions } from './compare-versions.ts';

/** What a channel's pointer makes nodes do, in one sentence; `nowMs` for a pointer with a start date. */
export function describeChannel(pointer: ChannelPointer, nowMs: number): string {
  const { rollout, not_before: notBefore } = pointer;
  const sites = rollout.sites.length > 0 ? ` at ${someOf(rollout.sites)}` : '';
  const takes = starts(pointer, pointer.current);
  const stays = starts(pointer, pointer.previous);
  if (notBefore * 1000 > nowMs) {
    const from = new Date(notBefore * 1000).toISOString();
    return `until ${from} every node ${stays}; then ${share(rollout.percent, sites, takes, stays)}`;
  }
  return share(rollout.percent, sites, takes, stays);
}

function share(percent: number, sites: string, takes: string, stays: string): string {
  if (percent === 100 && sites === '') return `every node ${takes}`;
  if (percent === 0) return `halted: every node ${stays}`;
  const who = percent === 100 ? 'every node' : `${percent} % of the nodes`;
  return `${who}${sites} ${verb(takes, percent)}, all others ${plural(stays)}`;
}

/** What a node does that is sent to this build. */
function starts(pointer: ChannelPointer, build: ChannelPointer['previous']): string {
  if (!build) return 'starts nothing (there is no previous release)';
  if (pointer.yanked.includes(build.version)) return `refuses to start: ${build.version} was withdrawn`;
  if (pointer.min_version !== null && compareVersions(build.version, pointer.min_version) < 0) {
    return `refuses to start: ${build.version} is below ${pointer.min_version}`;
  }
  return `starts ${build.version}`;
}

const plural = (text: string): string => text.replace(/^starts/, 'start').replace(/^refuses/, 'refuse');
const verb = (text: string, percent: number): string => (percent === 100 ? text : plural(text));

const someOf = (names: readonly string[]): string =>
  names.length <= 5 ? names.join(', ') : `${names.slice(0, 5).join(', ')} and ${names.length - 5} more sites`;
