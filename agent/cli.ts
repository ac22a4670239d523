import type { Command } from 'commander';
import { agentFlags, flagValue } from './flags.ts';
import { listenToSignals } from './signals.ts';

/** Mounts `pilotage agent run`: the same program that the signed bundle is, for tests and for trying it by hand. */
export function register(program: Command): void {
  const agent = program.command('agent').description('The pilot: runs jobs on a worker node');
  const run = agent
    .command('run')
    .description(
      'Enrol, run jobs until there is no reason to stay, and leave; what the wrapper starts on a node',
    )
    .requiredOption(
      '--bootstrap <file>',
      'what the autopilot left for this pilot; removed once its secret is redeemed',
    )
    .option('--verified <file>', 'what the wrapper verified: the release that runs')
    .addHelpText(
      'after',
      '\nExit codes: 0 worked or nothing to do, 1 failed, 2 bad bootstrap or usage, 4 no server reached, 5 enrolment refused, 6 node unfit.',
    );
  for (const { flag, description } of agentFlags) run.option(`--${flag} <value>`, description);
  run.action(async (options: Record<string, string | undefined> & { bootstrap: string }) => {
    const { runProgram } = await import('./program.ts');
    const flags = agentFlags
      .filter(({ key }) => options[key] !== undefined)
      .map(({ key }) => [key, flagValue(key, options[key]!)]);
    process.exitCode = await runProgram({
      bootstrapFile: options.bootstrap,
      verifiedFile: options.verified,
      flags: Object.fromEntries(flags) as Record<string, unknown>,
      storeDirectory: process.env.PILOTAGE_STORE,
      ...listenToSignals(),
    });
  });
}
