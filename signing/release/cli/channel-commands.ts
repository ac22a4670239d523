import type { Command } from 'commander';
import { action, print } from '../../../lib/cli.ts';
import { isChannel, promote, setQueueChannel } from '../promote.ts';
import { byPeople, signers, withContext, type RepositoryOptions } from './options.ts';

/** Mounts what moves channels and queues: `promote`, `queue`. */
export function registerChannelCommands(release: Command): void {
  byPeople(
    release,
    'promote <version|channel> <channel>',
    'Point a channel at a release, or at what another channel has.',
  )
    .option('--runtime <version>', 'Node runtime to go with it (default: the newest of each architecture)')
    .action(action(runPromote));
  byPeople(
    release,
    'queue <queue> <channel>',
    'Say which channel a queue follows; QUEUE "default" means all others.',
  ).action(action(runQueue));
}

async function runPromote(
  options: RepositoryOptions & { runtime?: string },
  what?: string,
  channel?: string,
): Promise<void> {
  const result = await withContext(options, context =>
    promote({
      ...context,
      ...signers(options),
      ...(isChannel(what!) ? { fromChannel: what } : { version: what! }),
      ...(options.runtime === undefined ? {} : { runtimeVersion: options.runtime }),
      channel: channel!,
    }),
  );
  print(result, options, ({ channel, version, serial, previous, runtimes, promoted }) =>
    promoted
      ? `Channel ${channel} points at ${version} with Node ${Object.values(runtimes).join(', ')} ` +
        `(serial ${serial}, before: ${previous ?? 'nothing'}). Next: release publish.`
      : `Channel ${channel} points at ${version} already (serial ${serial}); nothing was signed.`,
  );
}

async function runQueue(options: RepositoryOptions, queue?: string, channel?: string): Promise<void> {
  const result = await withContext(options, context =>
    setQueueChannel({ ...context, ...signers(options), queue: queue!, channel: channel! }),
  );
  print(result, options, ({ serial, changed }) =>
    changed
      ? `Queue ${queue} follows ${channel} (queue map serial ${serial}). Next: release publish.`
      : `Queue ${queue} is set so already; nothing was signed.`,
  );
}
