import type { Command } from 'commander';
import { errorTable, isWireErrorCode } from './error-table.ts';
import { PilotageError, formatError, fromSystemError } from './errors.ts';

/** Exit codes of every command; the table of docs/reference/exit-codes.md. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  refused: 3,
  unreachable: 4,
  interrupted: 130,
} as const;

/** Codes of our own, by what they say; everything that is not listed here is about the call or its surroundings. */
const REFUSED =
  /^E_(TUF|TARGET|CHANNEL(?!_UNKNOWN)|CLOCK|CHAIN|THRESHOLD|LOG_TAMPERED|UPSTREAM_FORGED|ARCHIVE_UNSAFE|SIGNER_WRONG|REQUEST_|TAG_SIGNATURE)/;
const UNREACHABLE = /^E_(UNREACHABLE|CACHE_|UPSTREAM_|TIMEOUT|DATABASE_UNREACHABLE)/;
const FAILED =
  /^E_(INTERNAL|DISK_FULL|PROTOCOL|PROGRAM|DEMO|BENCH|SIGNER_FAILED|BUILD_FAILED|REPOSITORY_LOCK_LOST|OBJECTS_DAMAGED)/;

/**
 * 2: the call, a file or the configuration is wrong; 3: something was verified or judged and refused; 4: a service
 * cannot be reached now; 130: it was stopped on request; 1: anything else.
 */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof PilotageError)) return exitCodes.failed;
  if (error.code === 'E_ABORTED') return exitCodes.interrupted;
  if (isWireErrorCode(error.code)) {
    const { status } = errorTable[error.code];
    if (status === 401 || status === 403 || status === 409) return exitCodes.refused;
    if (status === 429 || status === 503) return exitCodes.unreachable;
    return status === 500 ? exitCodes.failed : exitCodes.usage;
  }
  if (REFUSED.test(error.code)) return exitCodes.refused;
  if (UNREACHABLE.test(error.code)) return exitCodes.unreachable;
  return FAILED.test(error.code) ? exitCodes.failed : exitCodes.usage;
}

/** For an option that may be given more than once: all its values. */
export const collect = (value: string, previous: string[] | undefined): string[] => [
  ...(previous ?? []),
  value,
];

/** Prints one result: JSON with --json, else the text that `human` makes. */
export function print<T>(value: T, options: { json?: boolean }, human: (value: T) => string): void {
  process.stdout.write((options.json ? JSON.stringify(value) : human(value)) + '\n');
}

/** Prints an error for a person, or as one JSON object on stderr with --json, and sets the exit code. */
export function reportError(thrown: unknown, json = false): void {
  const error = stoppedOnRequest(thrown) ?? thrown;
  if (json && error instanceof PilotageError) {
    const { code, message, where, expected, found, rule, fix, refusals } = error;
    process.stderr.write(
      JSON.stringify({ code, message, where, expected, found, rule, fix, refusals }) + '\n',
    );
  } else {
    process.stderr.write(formatError(error) + '\n');
  }
  if (process.env.PILOTAGE_DEBUG && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  process.exitCode = exitCodeOf(error);
}

/** For standard output that cannot be written: a full disk is an error, a reader that saw enough (`| head`) is none. */
export function lostOutput(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') reportError(fromSystemError(error, 'standard output'));
}

/** What an aborted command was told by its shutdown, as an error of ours. */
function stoppedOnRequest(error: unknown): PilotageError | undefined {
  if (!(error instanceof Error) || error.name !== 'AbortError') return undefined;
  return new PilotageError({
    code: 'E_ABORTED',
    message: `Stopped on request (${error.message}).`,
    cause: error,
  });
}

/**
 * Wraps a subcommand's action: runs it, and turns whatever it throws into a message and an exit code. `run` gets the
 * positional arguments and then the options of the command and its parents.
 */
export function action<Options extends { json?: boolean }>(
  run: (options: Options, ...args: string[]) => Promise<void>,
): (this: Command, ...args: unknown[]) => Promise<void> {
  return async function wrapped(this: Command, ...args: unknown[]) {
    const command = args.at(-1) as Command;
    const options = command.optsWithGlobals<Options>();
    try {
      await run(options, ...(args.slice(0, -2) as string[]));
    } catch (error) {
      reportError(error, options.json);
    }
  };
}
