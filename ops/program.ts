import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { opsError } from './errors.ts';

const entry = fileURLToPath(new URL('../pilotage.ts', import.meta.url));

export interface ProgramOptions {
  /** Name for people and for the log file. */
  name: string;
  /** Arguments of `pilotage`, for example `['store', 'serve', …]`. */
  args: readonly string[];
  logFile: string;
  env?: NodeJS.ProcessEnv;
  readySeconds?: number;
  /** Called when the process, once it was ready, ends without having been told to. */
  onExit?: (code: number | null, signal: NodeJS.Signals | null) => void;
}

/** One long-running part of Pilotage in a process of its own. */
export interface Program {
  readonly name: string;
  readonly pid: number;
  /** The JSON of its ready line. */
  readonly ready: { url?: string } & Record<string, unknown>;
  /** SIGTERM, then SIGKILL after the deadline. */
  stop(deadlineSeconds?: number): Promise<void>;
}

/**
 * Starts a part and waits for its ready line on standard output; its log goes to a file.
 *
 * @throws E_PROGRAM_FAILED with what it said when it ends first; E_PROGRAM_SILENT when it is not ready in time.
 */
export async function startProgram(options: ProgramOptions): Promise<Program> {
  const log = createWriteStream(options.logFile, { flags: 'a', mode: 0o640 });
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', entry, ...options.args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...(options.env ?? process.env), PILOTAGE_END_WITH_PARENT: '1' },
    // A session of its own: Ctrl-C reaches us alone, and we end our programs in order. If we are killed, the end of its
    // standard input tells it.
    detached: true,
  });
  const complaint: string[] = [];
  child.stderr.on('data', (chunk: Buffer) => {
    log.write(chunk);
    complaint.push(chunk.toString('utf8'));
    if (complaint.length > 20) complaint.shift();
  });
  let stopping = false;
  let isReady = false;
  child.once('close', () => log.end());
  child.once('exit', (code, signal) => {
    if (isReady && !stopping) options.onExit?.(code, signal);
  });
  try {
    const ready = await readyLine(child, options, () => complaint.join(''));
    // An end before this is the error of this call, and nobody else's to hear of.
    isReady = true;
    if (hasEnded(child)) options.onExit?.(child.exitCode, child.signalCode);
    return {
      name: options.name,
      pid: child.pid!,
      ready,
      async stop(deadlineSeconds = 15) {
        stopping = true;
        await end(child, deadlineSeconds);
      },
    };
  } catch (error) {
    stopping = true;
    await end(child, 5);
    throw error;
  }
}

async function readyLine(
  child: ChildProcess,
  options: ProgramOptions,
  said: () => string,
): Promise<Program['ready']> {
  const lines = createInterface({ input: child.stdout! });
  const seconds = options.readySeconds ?? 30;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(
        opsError({
          code: 'E_PROGRAM_SILENT',
          message: `${options.name} was not ready after ${seconds} s.`,
          where: options.logFile,
          fix: 'Read its log; is the machine overloaded?',
        }),
      );
    }, seconds * 1000);
    lines.on('line', line => {
      const value = readyJson(line);
      if (value) {
        clearTimeout(timer);
        resolve(value);
      }
    });
    child.once('error', error => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      reject(
        opsError({
          code: 'E_PROGRAM_FAILED',
          message: `${options.name} ended with ${signal ?? `exit code ${code}`} before it was ready:\n${said().trim().split('\n').slice(-6).join('\n')}`,
          where: options.logFile,
          fix: 'See what it said.',
        }),
      );
    });
  });
}

function readyJson(line: string): Program['ready'] | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const value = JSON.parse(line) as Program['ready'];
    return value.ready === true ? value : undefined;
  } catch {
    return undefined;
  }
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;

async function end(child: ChildProcess, deadlineSeconds: number): Promise<void> {
  if (hasEnded(child)) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), deadlineSeconds * 1000);
  await ended;
  clearTimeout(timer);
}
