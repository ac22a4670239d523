import { Command } from 'commander';
import { existsSync } from 'node:fs';
import { exitCodes, reportError } from './lib/cli.ts';
import { version } from './lib/version.ts';

/** Composition root: mounts each folder's subcommands. Nothing else in the product knows all folders but ops. */
const folders = ['ops', 'signing', 'codecache', 'server', 'autopilot', 'agent'] as const;

const program = new Command('pilotage')
  .description('Signed pilot code, caches, autopilot, pilots and dispatcher of a pilot-based workload system.')
  .version(version)
  .option('--json', 'print results and errors as JSON')
  .enablePositionalOptions(false)
  .showHelpAfterError('(run with --help to see how it is used)')
  .configureHelp({ showGlobalOptions: true })
  .exitOverride(ended => process.exit(ended.exitCode === 0 ? exitCodes.ok : exitCodes.usage));

for (const folder of folders) {
  if (!existsSync(new URL(`./${folder}/cli.ts`, import.meta.url))) continue;
  const { register } = (await import(`./${folder}/cli.ts`)) as { register: (program: Command) => void };
  register(program);
}

try {
  await program.parseAsync();
} catch (error) {
  reportError(error, process.argv.includes('--json'));
}
