import type { Command } from 'commander';
import { registerClient } from './client/commands.ts';
import { registerTrustFetch } from './client/trust-command.ts';
import { registerStore } from './origin/commands.ts';
import { registerProxy } from './proxy/commands.ts';

/** Mounts `pilotage store`, `pilotage cache` and `pilotage trust fetch`. */
export function register(program: Command): void {
  registerStore(program);
  const cache = program
    .command('cache')
    .description('Caches between the code store and worker nodes, and the store of a node.');
  registerProxy(cache);
  registerClient(cache);
  // The other commands of this name are those of signing.
  registerTrustFetch(
    program.commands.find(command => command.name() === 'trust') ?? program.command('trust'),
  );
}
