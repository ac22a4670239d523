import { InvalidArgumentError, type Command } from 'commander';
import { action, print } from '../../../lib/cli.ts';
import type { ChannelPointer } from '../../../lib/protocol/release.ts';
import { isChannel } from '../channels/channel-pointer.ts';
import { describeChannel } from '../channels/describe-channel.ts';
import { halt, resume, type HaltResult } from '../channels/halt.ts';
import { listChannels } from '../channels/list-channels.ts';
import { promote } from '../channels/promote.ts';
import { setQueueChannel } from '../channels/queue-channel.ts';
import { revoke, type RevokeResult } from '../channels/revoke.ts';
import {
  byPeople,
  collect,
  given,
  reading,
  signers,
  withContext,
  type RepositoryOptions,
} from './options.ts';

/** Mounts what moves channels and queues: `promote`, `halt`, `resume`, `revoke`, `channels`, `queue`. */
export function registerChannelCommands(release: Command): void {
  byPeople(
    release,
    'promote <version|channel> <channel>',
    'Point a channel at a release, or at what another channel has.',
  )
    .option('--runtime <version>', 'Node runtime to go with it (default: the newest of each architecture)')
    .option('--percent <n>', 'share of the nodes that take it; the others stay (default: 100)', percent)
    .option('--site <name>', 'only nodes of this site take it; repeat for more (default: all)', collect)
    .option('--min-version <version>', 'least version that nodes start from now on')
    .option('--lower-min-version', 'allow a lower --min-version than the one in force')
    .option('--not-before <date>', 'nodes stay on the previous release until then, ISO 8601 with zone', date)
    .option('--previous <version>', 'what nodes outside the rollout start (default: what all had before)')
    .action(action(runPromote));
  byPeople(release, 'halt <channel>', 'Stop a rollout: all nodes start the previous release again.').action(
    action<RepositoryOptions>(async (options, channel) => {
      const context = { ...signers(options), channel };
      const result = await withContext(options, opened => halt({ ...opened, ...context }));
      printMoved(options, result, 'is halted already');
    }),
  );
  byPeople(release, 'resume <channel>', 'Take a halted rollout up again, the same nodes first.')
    .option('--percent <n>', 'share of the nodes (default: as before the halt)', percent)
    .action(
      action<RepositoryOptions & { percent?: number }>(async (options, channel) => {
        const context = { ...signers(options), channel };
        const share = options.percent === undefined ? {} : { percent: options.percent };
        const result = await withContext(options, opened => resume({ ...opened, ...context, ...share }));
        printMoved(options, result, 'is not halted');
      }),
    );
  byPeople(
    release,
    'revoke <version>',
    'Withdraw a release from all channels: no node starts it, pilots of it end after their payload.',
  )
    .option('--kill', 'pilots of it end at once, payload included')
    .option('--to <version>', 'what takes its place (default: the previous release of each channel)')
    .option('--channel <channel>', 'only this channel; repeat for more (default: all)', collect)
    .action(action(runRevoke));
  reading(release, 'channels', 'Show where every channel points, and what that makes nodes do.').action(
    action<RepositoryOptions>(async options =>
      print(await withContext(options, listChannels), options, entries =>
        entries
          .map(({ channel, staged, pointer, effect }) =>
            [
              `${channel}: ${effect}`,
              ...(pointer ? facts(pointer) : []),
              ...(staged ? ['  signed, not yet public: release publish'] : []),
            ].join('\n'),
          )
          .join('\n'),
      ),
    ),
  );
  byPeople(
    release,
    'queue <queue> <channel>',
    'Say which channel a queue follows; QUEUE "default" means all others.',
  ).action(action(runQueue));
}

interface PromoteFlags extends RepositoryOptions {
  runtime?: string;
  percent?: number;
  site?: string[];
  minVersion?: string;
  lowerMinVersion?: boolean;
  notBefore?: number;
  previous?: string;
}

async function runPromote(options: PromoteFlags, what?: string, channel?: string): Promise<void> {
  const { runtime: runtimeVersion, site: sites, lowerMinVersion: lowersFloor } = options;
  const { percent: share, minVersion, notBefore, previous } = options;
  const result = await withContext(options, context =>
    promote({
      ...context,
      ...signers(options),
      ...(isChannel(what!) ? { fromChannel: what } : { version: what! }),
      channel: channel!,
      ...given({ runtimeVersion, sites, lowersFloor, percent: share, minVersion, notBefore, previous }),
    }),
  );
  print(result, options, ({ channel: name, version, serial, runtimes, pointer, promoted, proposed }) =>
    promoted
      ? `Channel ${name} ${proposed ? 'is to point' : 'points'} at ${version} with Node ${Object.values(runtimes).join(', ')} (serial ${serial}): ` +
        `${describeChannel(pointer, Date.now())}. ${next(proposed)}`
      : `Channel ${name} points at ${version} so already (serial ${serial}); nothing was signed.`,
  );
}

/** What waits is told of by the command that proposed it. */
const next = (proposed: boolean): string => (proposed ? 'Next: release sign.' : 'Next: release publish.');

const printMoved = (options: RepositoryOptions, result: HaltResult, already: string) =>
  print(result, options, ({ channel, serial, pointer, changed, proposed }) =>
    changed
      ? `Channel ${channel} (serial ${serial}): ${describeChannel(pointer, Date.now())}. ${next(proposed)}`
      : `Channel ${channel} ${already} (serial ${serial}); nothing was signed.`,
  );

async function runRevoke(
  options: RepositoryOptions & { kill?: boolean; to?: string; channel?: string[] },
  version?: string,
): Promise<void> {
  const { kill, to, channel: channels } = options;
  const result = await withContext(options, context =>
    revoke({ ...context, ...signers(options), version: version!, ...given({ kill, to, channels }) }),
  );
  const kept = {
    removed: 'out of releases',
    absent: 'not in releases',
    kept: 'still in releases, for the other channels',
    waits: 'still in releases until the channels below are signed: run this again then',
    proposed: 'still in releases until its removal is signed',
  }[result.releases];
  const notes = { signed: '', proposed: ' (waits for more signatures)', unchanged: ' (as before)' };
  const waits = result.channels.length > 0 && result.channels.every(({ state }) => state === 'proposed');
  print(result, options, () =>
    [
      `${version} is ${waits ? 'to be withdrawn' : 'withdrawn'}, ${kept}:`,
      ...result.channels.map(({ channel, state, effect }) => `  ${channel}: ${effect}${notes[state]}`),
      result.changed ? nextAfter(result) : 'It was so already; nothing was signed.',
    ].join('\n'),
  );
}

/** What is signed goes out at once, whatever waits. */
function nextAfter({ channels, releases }: RevokeResult): string {
  const isSigned = releases === 'removed' || channels.some(({ state }) => state === 'signed');
  const isProposed = releases === 'proposed' || channels.some(({ state }) => state === 'proposed');
  const steps = [...(isSigned ? ['release publish'] : []), ...(isProposed ? ['release sign'] : [])];
  return `Next: ${steps.join(', ')}.`;
}

async function runQueue(options: RepositoryOptions, queue?: string, channel?: string): Promise<void> {
  const result = await withContext(options, context =>
    setQueueChannel({ ...context, ...signers(options), queue: queue!, channel: channel! }),
  );
  print(result, options, ({ serial, changed, proposed }) =>
    changed
      ? `Queue ${queue} ${proposed ? 'is to follow' : 'follows'} ${channel} (queue map serial ${serial}). ${next(proposed)}`
      : `Queue ${queue} is set so already; nothing was signed.`,
  );
}

function facts(pointer: ChannelPointer): string[] {
  const { current, previous, serial, rollout, min_version: least, yanked, kill } = pointer;
  const runtimes = [...new Set(Object.values(current.runtimes).map(({ version }) => version))];
  return [
    `  current ${current.version} with Node ${runtimes.join(', ')}, previous ${previous?.version ?? 'none'}, serial ${serial}`,
    `  rollout ${rollout.percent} %${rollout.sites.length ? ` at ${rollout.sites.join(' ')}` : ''}, min_version ${least ?? 'none'}`,
    ...(pointer.not_before > 0 ? [`  not before ${new Date(pointer.not_before * 1000).toISOString()}`] : []),
    ...(yanked.length
      ? [`  withdrawn ${yanked.join(' ')}${kill.length ? `, killed ${kill.join(' ')}` : ''}`]
      : []),
  ];
}

function percent(value: string): number {
  if (/^(100|[1-9]?[0-9])$/.test(value)) return Number(value);
  throw new InvalidArgumentError('It is a whole number from 0 to 100.');
}

/** Epoch seconds. */
function date(value: string): number {
  const ms = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d))?$/.test(value) ? Date.parse(value) : NaN;
  if (Number.isFinite(ms)) return Math.floor(ms / 1000);
  throw new InvalidArgumentError('It is a date such as 2027-01-31 (UTC) or 2027-01-31T08:00Z.');
}
