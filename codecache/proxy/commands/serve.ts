import type { Command } from 'commander';
import { action, collect } from '../../../lib/cli.ts';
import { loadConfig } from '../../../lib/config.ts';
import { createLog } from '../../../lib/log.ts';
import { Shutdown } from '../../../lib/shutdown.ts';
import { CacheServeConfig } from '../../config/schema.ts';
import { startPrimary } from '../workers/primary.ts';

interface ServeOptions {
  json?: boolean;
  config?: string;
  dir?: string;
  listen?: string;
  upstream?: string[];
  sibling?: string[];
  allowOrigin?: string[];
  processes?: number;
  memoryBytes?: string;
  maxStoreBytes?: string;
  accessLog?: string;
}

/** Beyond the time for answers under way, at the end. */
const END_MARGIN_MS = 5000;

/** Mounts `pilotage cache serve`. */
export function registerServe(cache: Command): void {
  cache
    .command('serve')
    .description(
      'Run a caching proxy for a code store: keeps only what it verified, survives its origin.\n' +
        'SIGHUP: go on in a new access log. SIGUSR2: restart without a failed request. SIGTERM: finish and end.',
    )
    .option(
      '--upstream <url>',
      'origin or other cache to fetch from; repeat for more, in order; any of "http://a|http://b"',
      collect,
    )
    .option('--sibling <url>', 'cache beside this one, asked for what it has; repeat for more', collect)
    .option(
      '--allow-origin <url>',
      'origin that clients may name (forward proxy), default the upstreams; repeat for more',
      collect,
    )
    .option('--dir <directory>', 'directory for what is kept')
    .option(
      '--listen <host:port>',
      'address to listen on; port 0 takes any free port (default 127.0.0.1:8091)',
    )
    .option('--processes <n>', 'processes that answer on the same port (default 1)', Number)
    .option('--memory-bytes <size>', 'objects held in memory, of each process (default 128MiB)')
    .option('--max-store-bytes <size>', 'disk quota (default 20GiB)')
    .option('--access-log <file>', 'one JSON line per answer; opened again on SIGHUP; - for the program log')
    .option('--config <file>', 'YAML or JSON file with the settings of codecache/config/schema.ts')
    .action(action(runCache));
}

async function runCache(options: ServeOptions): Promise<void> {
  const { dir, listen, processes, memoryBytes, maxStoreBytes, accessLog } = options;
  const readConfig = async () => {
    const { value } = await loadConfig({
      schema: CacheServeConfig,
      file: options.config,
      envPrefix: 'PILOTAGE_CACHE_SERVE_',
      flags: {
        upstreams: options.upstream,
        siblings: options.sibling,
        allowedOrigins: options.allowOrigin,
        dir,
        listen,
        processes,
        memoryBytes,
        maxStoreBytes,
        accessLog,
      },
    });
    return value;
  };
  const config = await readConfig();
  const log = createLog('cache');
  const shutdown = new Shutdown({ log, deadlineMs: config.drainSeconds * 1000 + END_MARGIN_MS }).listen();
  const starting = startPrimary({ config, readConfig, log });
  // From now on, for either would end a process that does not listen to it.
  process.on('SIGHUP', () => void starting.then(started => started.reopenLogs()).catch(() => undefined));
  process.on('SIGUSR2', () => {
    starting
      .then(started => started.restart())
      .catch(error => log.error({ err: error }, 'not restarted; the old processes go on'));
  });
  const primary = await starting;
  shutdown.defer('cache', () => primary.close());
  process.stdout.write(`${JSON.stringify({ ready: true, program: 'cache', url: primary.url })}\n`);
}
