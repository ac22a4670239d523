import type { Command } from 'commander';
import { registerControl } from './commands/control.ts';
import { registerServe } from './commands/serve.ts';

/** Mounts what runs and looks after a caching proxy. */
export function registerProxy(cache: Command): void {
  registerServe(cache);
  registerControl(cache);
}
