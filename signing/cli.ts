import type { Command } from 'commander';
import { registerRelease } from './release/cli/register.ts';
import { registerTrust } from './trust/cli.ts';
import { registerX509 } from './x509/cli.ts';

/** Mounts `pilotage release`, `pilotage cert` and `pilotage trust`. */
export function register(program: Command): void {
  registerRelease(program);
  registerX509(program);
  registerTrust(program);
}
