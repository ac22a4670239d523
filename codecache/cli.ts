import type { Command } from 'commander';
import { registerClient } from './client/commands.ts';
import { registerStore } from './origin/commands.ts';
import { registerProxy } from './proxy/commands.ts';

/** Mounts `pilotage store` and `pilotage cache`. */
export function register(program: Command): void {
  registerStore(program);
  const cache = program
    .command('cache')
    .description('Caches between the code store and worker nodes, and the store of a node.');
  registerProxy(cache);
  registerClient(cache);
}
