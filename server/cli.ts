import type { Command } from 'commander';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { action, print } from '../lib/cli.ts';
import { loadConfig } from '../lib/config.ts';
import { ensureDirectory, writeFileAtomic } from '../lib/files.ts';
import { createLog } from '../lib/log.ts';
import { Shutdown } from '../lib/shutdown.ts';
import { ServerConfig } from './config/schema.ts';
import { registerDatabaseCommands } from './database-commands.ts';
import { serverError } from './errors.ts';

interface RunOptions {
  json?: boolean;
  config?: string;
  listen?: string;
  database?: string;
}

/** Adds `pilotage server …` and `pilotage db …`. */
export function register(program: Command): void {
  const server = program
    .command('server')
    .description('The dispatcher: takes jobs, counts pilots, gives leases, keeps results.');
  server
    .command('run')
    .description(
      'Run a server until SIGTERM. Prints one JSON line when it listens; several servers may share one database.',
    )
    .option(
      '--config <file>',
      'YAML or JSON settings; PILOTAGE_SERVER_<SETTING> in the environment overrides',
    )
    .option('--listen <host:port>', 'address of the TLS listener; port 0 takes a free one')
    .option('--database <url>', 'sqlite:<path>, postgres://… or mariadb://…')
    .option('--json', 'print errors as JSON')
    .action(action<RunOptions>(run));
  server
    .command('init')
    .description('Make the secret key that all servers of an instance share (server.key, mode 0600).')
    .requiredOption('--dir <directory>', 'where to write it; made if missing')
    .option('--json', 'print the result as JSON')
    .action(action<{ json?: boolean; dir: string }>(init));
  registerDatabaseCommands(program);
}

async function run(options: RunOptions): Promise<void> {
  const { value: config } = await loadConfig({
    schema: ServerConfig,
    file: options.config,
    envPrefix: 'PILOTAGE_SERVER_',
    flags: { listen: options.listen, databaseUrl: options.database },
  });
  const { startServer } = await import('./run.ts');
  const log = createLog('server');
  const running = await startServer(config, { log });
  const shutdown = new Shutdown({ log }).listen();
  shutdown.defer('server', () => running.close());
  const ready = { ready: true, program: 'server', url: running.url, instance: config.instance };
  process.stdout.write(JSON.stringify(ready) + '\n');
}

async function init(options: { json?: boolean; dir: string }): Promise<void> {
  const secretKeyFile = join(options.dir, 'server.key');
  if (existsSync(secretKeyFile)) {
    throw serverError({
      code: 'E_FILE_EXISTS',
      message: 'There is a secret key already; another one would make all open submissions worthless.',
      where: secretKeyFile,
      fix: 'Use it, or choose another directory.',
    });
  }
  await ensureDirectory(options.dir, 0o700);
  await writeFileAtomic(secretKeyFile, randomBytes(32).toString('hex') + '\n', { mode: 0o600 });
  print({ secretKeyFile }, options, value => `Wrote ${value.secretKeyFile}; give it to every server.`);
}
