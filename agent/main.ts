import { parseArgs } from 'node:util';
import { formatError } from '../lib/errors.ts';
import { libError } from '../lib/errors.ts';
import { version } from '../lib/version.ts';
import { agentFlags, flagValue } from './flags.ts';
import { agentExitCodes, runProgram } from './program.ts';
import { listenToSignals } from './signals.ts';

/** Entry of the bundle that runs on worker nodes: `pilot.mjs run --bootstrap FILE --verified FILE [settings]`. */
async function main(argv: readonly string[]): Promise<number> {
  const options = Object.fromEntries(
    ['bootstrap', 'verified', ...agentFlags.map(({ flag }) => flag)].map(flag => [
      flag,
      { type: 'string' as const },
    ]),
  );
  let parsed;
  try {
    parsed = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: { ...options, help: { type: 'boolean' as const }, version: { type: 'boolean' as const } },
    });
  } catch (error) {
    return usageError((error as Error).message);
  }
  const values = parsed.values as Record<string, string | boolean | undefined>;
  if (values.version) return say(`${version}\n`);
  if (values.help || parsed.positionals[0] === 'help') return say(usage());
  if (parsed.positionals.join(' ') !== 'run' || typeof values.bootstrap !== 'string') {
    return usageError('"run" and --bootstrap FILE are needed.');
  }
  const flags = agentFlags
    .filter(({ flag }) => values[flag] !== undefined)
    .map(({ flag, key }) => [key, flagValue(key, String(values[flag]))]);
  return runProgram({
    bootstrapFile: values.bootstrap,
    verifiedFile: typeof values.verified === 'string' ? values.verified : undefined,
    flags: Object.fromEntries(flags) as Record<string, unknown>,
    storeDirectory: process.env.PILOTAGE_STORE,
    ...listenToSignals(),
  });
}

function say(text: string): number {
  process.stdout.write(text);
  return agentExitCodes.worked;
}

function usageError(message: string): number {
  const error = libError({ code: 'E_USAGE', message, fix: 'Run with --help to see how it is used.' });
  process.stderr.write(`${formatError(error)}\n`);
  return agentExitCodes.badBootstrap;
}

function usage(): string {
  const lines = agentFlags.map(({ flag, description }) => `  --${flag} VALUE\n        ${description}`);
  return [
    'Usage: pilot.mjs run --bootstrap FILE [--verified FILE] [settings]',
    '',
    'Enrols this pilot, runs jobs until there is no reason to stay, and leaves. Settings come from "agent" in',
    'the bootstrap file, then PILOTAGE_AGENT_*, then flags:',
    ...lines,
    '',
    'Exit codes: 0 worked or nothing to do, 1 failed, 2 bad bootstrap or usage, 4 no server reached,',
    '5 enrolment refused, 6 node unfit.',
    '',
  ].join('\n');
}

process.exitCode = await main(process.argv.slice(2));
// Nothing may hold a pilot that has left: a connection, or a pipe that some process of a payload still has open.
setTimeout(() => process.exit(), 2000).unref();
