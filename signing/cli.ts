import type { Command } from 'commander';
import { registerRelease } from './release/cli/register.ts';
import { registerX509 } from './x509/cli.ts';

/** Mounts `pilotage release` and `pilotage cert`. */
export function register(program: Command): void {
  registerRelease(program);
  registerX509(program);
}
