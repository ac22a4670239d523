import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { exitCodeOf, exitCodes } from '../../lib/cli.ts';
import { PilotageError, formatError, libError } from '../../lib/errors.ts';
import type { Refusal } from '../../lib/errors.ts';
import { version } from '../../lib/version.ts';
import { fetchPilot, pilotEnd, startPilot } from './start-pilot.ts';
import type { StartOptions } from './start-pilot.ts';

const usage = `Usage: pilotage-node [--bootstrap FILE] [--root FILE] [--store DIR]

Verifies pilot and runtime of a queue's channel, installs them in this node's store and runs the pilot in the working
directory, as the wrapper does.

  --bootstrap FILE  what the autopilot left for this pilot (default bootstrap.json)
  --root FILE       the pinned root of the release repository (default root.json beside it)
  --store DIR       this user's store on this node, mode 0700 (default PILOTAGE_STORE, else
                    pilotage-store-<uid> below TMPDIR or /tmp)
  --version, --help

PILOTAGE_STALL_SECONDS: a download without a byte for so long fails over to the next path (default 20).
Last line on stdout: PILOTAGE-RESULT {...}. Exit: 0 ok, 2 bootstrap or node, 3 refused, 4 no cache, 143 stopped before
the pilot was started, else the pilot's.
`;

/** What the last line says; the wrapper says it in the same words. */
interface Result {
  code: string;
  exit: number;
  cache: string;
  message: string;
}

const STOPPED = 143;
const signals = ['SIGTERM', 'SIGINT'] as const;

/** Entry of the single-file executable that `npm run build:single` makes. */
async function main(argv: string[]): Promise<number> {
  const stopped = new AbortController();
  let stop = (signal: NodeJS.Signals): void => stopped.abort(signal);
  for (const signal of signals) process.on(signal, () => stop(signal));
  try {
    const options = optionsFrom(argv, process.env);
    if (typeof options === 'string') {
      process.stdout.write(options);
      return exitCodes.ok;
    }
    const fetched = await fetchPilot({ ...options, signal: stopped.signal });
    const { release, cache, refusals } = fetched;
    say(
      `verified release ${release.version} (${release.sha256}), runtime ${release.runtimeVersion} through ${cache}`,
    );
    const pilot = startPilot(fetched, options);
    stop = signal => void pilot.kill(signal);
    const exit = await pilotEnd(pilot);
    const refused = refusals.map(({ code, cache }) => `; ${code} at ${cache}`).join('');
    return end(
      exit === 0
        ? { code: 'ok', exit, cache, message: `the pilot ended${refused}` }
        : { code: 'E_AGENT_EXIT', exit, cache, message: `the pilot ended with ${exit}${refused}` },
    );
  } catch (error) {
    if (stopped.signal.aborted) {
      const message = `stopped by ${String(stopped.signal.reason)}`;
      return end({ code: 'E_ABORTED', exit: STOPPED, cache: '', message });
    }
    say(formatError(error));
    return end(refusalOf(error));
  }
}

function optionsFrom(argv: string[], env: NodeJS.ProcessEnv): Omit<StartOptions, 'signal'> | string {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  const known = { bootstrap: text, root: text, store: text, version: flag, help: flag };
  let values;
  try {
    ({ values } = parseArgs({ args: argv, options: known }));
  } catch (error) {
    throw libError({ code: 'E_USAGE', message: (error as Error).message, fix: 'Run with --help.' });
  }
  if (values.help === true) return usage;
  if (values.version === true) return `${version}\n`;
  const { bootstrap: bootstrapFile = 'bootstrap.json' } = values;
  const temporary = join(env.TMPDIR ?? '/tmp', `pilotage-store-${process.getuid?.()}`);
  const stall = env.PILOTAGE_STALL_SECONDS ?? '20';
  if (!/^[1-9]\d{0,3}$/.test(stall)) {
    throw libError({
      code: 'E_USAGE',
      message: 'PILOTAGE_STALL_SECONDS is no time.',
      expected: 'whole seconds, 1 to 9999',
      found: stall,
      fix: 'Set it to whole seconds, or leave it out.',
    });
  }
  return {
    bootstrapFile,
    rootFile: values.root ?? join(dirname(bootstrapFile), 'root.json'),
    storeDirectory: values.store ?? env.PILOTAGE_STORE ?? temporary,
    stallSeconds: Number(stall),
  };
}

/** Refused and unreachable as everywhere; all else is about the bootstrap or the node. */
function refusalOf(error: unknown): Result {
  if (!(error instanceof PilotageError)) {
    return { code: 'E_INTERNAL', exit: exitCodes.failed, cache: '', message: 'see log' };
  }
  const exit = exitCodeOf(error);
  const blamed: Refusal | undefined = error.refusals?.at(-1);
  const decided = exit === exitCodes.refused || exit === exitCodes.unreachable;
  return {
    code: error.code,
    exit: decided ? exit : exitCodes.usage,
    cache: blamed?.cache ?? '',
    message: [error.where, error.message].filter(Boolean).join(': '),
  };
}

function end({ code, exit, cache, message }: Result): number {
  process.stdout.write(`\nPILOTAGE-RESULT ${JSON.stringify({ code, exit, cache, message })}\n`);
  return exit;
}

const say = (text: string): void => void process.stderr.write(`pilotage-node: ${text}\n`);

process.exitCode = await main(process.argv.slice(2));
