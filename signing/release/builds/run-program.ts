import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';

const KEPT_BYTES = 4096;

export interface ProgramEnd {
  /** Null when a signal ended it. */
  exit: number | null;
  /** Why it was stopped here; null: it ended by itself. */
  stopped: string | null;
  /** The end of what it printed, for people: control characters replaced. */
  complaint: string;
}

/**
 * Runs a program in a session of its own, with a deadline; whatever it started ends with it.
 *
 * @param options.output gets its stdout; when that fails, the program is ended and the failure thrown.
 * @param options.env the whole environment: nothing is inherited.
 * @throws what spawning throws (ENOENT), what `output` throws, the reason of `signal`.
 */
export async function runProgram(
  command: readonly [string, ...string[]],
  options: {
    cwd: string;
    env: Record<string, string>;
    seconds: number;
    signal?: AbortSignal | undefined;
    output?: (stdout: Readable) => Promise<unknown>;
  },
): Promise<ProgramEnd> {
  options.signal?.throwIfAborted();
  const [program, ...args] = command;
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: options.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let complaint = '';
  let stopped: string | null = null;
  const keep = (chunk: Buffer) => (complaint = (complaint + chunk.toString('utf8')).slice(-KEPT_BYTES));
  const endSession = () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  };
  const stop = (reason: string) => {
    stopped ??= reason;
    endSession();
    child.stdout.destroy();
    child.stderr.destroy();
  };
  const deadline = setTimeout(
    () => stop(`it did not end within ${options.seconds} s`),
    options.seconds * 1000,
  );
  const aborted = () => stop('it was stopped on request');
  options.signal?.addEventListener('abort', aborted);
  child.stderr.on('data', keep);
  let failure: unknown;
  const reading = options.output?.(child.stdout).catch((error: unknown) => {
    failure = error;
    stop('its output could not be taken');
  });
  if (!options.output) child.stdout.on('data', keep);
  try {
    const exit = await new Promise<number | null>((resolve, reject) => {
      child.on('error', reject);
      // What it left running holds the pipes: it has to end first.
      child.on('exit', endSession);
      child.on('close', resolve);
    });
    await reading;
    options.signal?.throwIfAborted();
    if (failure !== undefined && stopped === 'its output could not be taken') throw failure;
    return { exit, stopped, complaint: printable(complaint) };
  } finally {
    clearTimeout(deadline);
    options.signal?.removeEventListener('abort', aborted);
  }
}

const printable = (text: string): string =>
  text
    .trim()
    .replaceAll(/[^\n\x20-\x7e]/g, '.')
    .replaceAll(/\n+/g, ' | ');
