import type { Command } from 'commander';
import { action } from '../../lib/cli.ts';
import { loadConfig } from '../../lib/config.ts';
import { libError } from '../../lib/errors.ts';
import { createLog } from '../../lib/log.ts';
import { Shutdown } from '../../lib/shutdown.ts';
import { StoreServeConfig } from '../config/schema.ts';
import type { StoreSource } from './public-files.ts';
import { serveStore } from './serve-store.ts';

interface StoreOptions {
  json?: boolean;
  config?: string;
  dir?: string;
  repo?: string;
  listen?: string;
  accessLog?: string;
}

/** Mounts `pilotage store`. */
export function registerStore(program: Command): void {
  const store = program.command('store').description('The origin of the signed code store.');
  store
    .command('serve')
    .description(
      'Serve a published release repository over HTTP, read-only, with explicit cache rules;\n' +
        'also /livez, /readyz, /metrics and /history.',
    )
    .option('--dir <directory>', 'public part of a release repository: R/public, or an export of it')
    .option('-r, --repo <place>', 'in its place the repository itself: a directory, or a database address')
    .option(
      '--listen <host:port>',
      'address to listen on; port 0 takes any free port (default 127.0.0.1:8090)',
    )
    .option('--access-log <file>', 'one JSON line per answer; opened again on SIGHUP; - for the program log')
    .option('--config <file>', 'YAML or JSON file with the settings of codecache/config/schema.ts')
    .action(action(runStore));
}

async function runStore(options: StoreOptions): Promise<void> {
  const { dir, repo, listen, accessLog } = options;
  const { value: config } = await loadConfig({
    schema: StoreServeConfig,
    file: options.config,
    envPrefix: 'PILOTAGE_STORE_SERVE_',
    flags: { dir, repo, listen, accessLog },
  });
  const log = createLog('store');
  const shutdown = new Shutdown({ log }).listen();
  const { idleSeconds, headerSeconds, maxConnections } = config;
  const server = await serveStore({
    ...sourceOf(config),
    listen: config.listen,
    log,
    limits: { idleSeconds, headerSeconds, maxConnections },
    accessLog: config.accessLog,
    history: config.history,
  });
  shutdown.defer('store server', () => server.close());
  process.on('SIGHUP', () => server.reopenLog());
  process.stdout.write(`${JSON.stringify({ ready: true, program: 'store', url: server.url })}\n`);
}

function sourceOf({ dir, repo }: StoreServeConfig): StoreSource {
  if (dir !== undefined && repo === undefined) return { directory: dir };
  if (repo !== undefined && dir === undefined) return { repository: repo };
  throw libError({
    code: 'E_CONFIG_INVALID',
    message: dir === undefined ? 'Nothing says what to serve.' : 'Two places are named to serve.',
    where: '--dir, --repo',
    expected: 'one of them: the public directory of a release repository, or the repository itself',
    fix: 'Give --dir R/public, or --repo with a directory or a database address.',
  });
}
