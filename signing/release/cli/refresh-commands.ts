import { InvalidArgumentError, Option, type Command } from 'commander';
import { action } from '../../../lib/cli.ts';
import { createLog } from '../../../lib/log.ts';
import { Shutdown } from '../../../lib/shutdown.ts';
import { refresh } from '../repository/publish.ts';
import { signing, withContext, type RepositoryOptions } from './options.ts';
import { printPublished } from './repository-commands.ts';

interface RefreshFlags extends RepositoryOptions {
  daemon?: boolean;
  intervalSeconds: number;
  listen?: string;
}

/** Mounts `refresh`. */
export function registerRefreshCommands(release: Command): void {
  signing(
    release,
    'refresh',
    'Sign timestamp again, and snapshot when due: once, for cron; or every half hour, with --daemon.',
  )
    .addOption(new Option('--once', 'refresh once and end; the default').conflicts('daemon'))
    .option('--daemon', 'go on until SIGTERM; says in metrics and log which roles are about to run out')
    .option('--interval-seconds <seconds>', 'time between two rounds of the daemon', interval, 1800)
    .option(
      '--listen <host:port>',
      'where the daemon answers /metrics, /livez and /readyz (default: nowhere)',
    )
    .action(action(run));
}

async function run(options: RefreshFlags): Promise<void> {
  if (options.daemon !== true) return printPublished(options, await withContext(options, refresh));
  const { RefreshDaemon } = await import('../refresh/refresh-daemon.ts');
  const log = createLog('release-refresh');
  const shutdown = new Shutdown({ log, deadlineMs: 60_000 }).listen();
  await withContext(options, async context => {
    const daemon = new RefreshDaemon({ context, intervalSeconds: options.intervalSeconds, log });
    let url: string | null = null;
    if (options.listen !== undefined) {
      const { serveRefresh } = await import('../refresh/serve-refresh.ts');
      const served = await serveRefresh({ daemon, address: options.listen, log });
      shutdown.defer('metrics', () => served.server.close());
      url = served.url;
    }
    const ended = daemon.run(shutdown.signal);
    shutdown.defer('round', () => ended);
    process.stdout.write(`${JSON.stringify({ ready: true, program: 'release-refresh', url })}\n`);
    await ended;
    await shutdown.close();
  });
}

function interval(value: string): number {
  const seconds = Number(value);
  if (/^\d{1,5}$/.test(value) && seconds >= 1 && seconds <= 43_200) return seconds;
  throw new InvalidArgumentError('It is a whole number from 1 to 43200; timestamps last a day.');
}
