import type { Command } from 'commander';
import { registerClient } from './client/cli.ts';

/** Mounts the commands of people who run or use a whole site. */
export function register(program: Command): void {
  registerClient(program);
}
