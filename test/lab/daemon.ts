import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitUntil } from './wait-until.ts';

const MAX_OUTPUT = 1 << 20;
const SETPRIV = '/usr/bin/setpriv';

export interface DaemonOptions {
  /** For messages. */
  name: string;
  command: string;
  args: readonly string[];
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** A system user to run as; only root may say so. */
  user?: { uid: number; gid: number };
  /** Polled until true; a throw means "not yet". */
  ready: (daemon: Daemon) => boolean | Promise<boolean>;
  /** Default 30. */
  readySeconds?: number;
  /** What asks the program to end, default SIGTERM; SIGKILL follows after `stopSeconds`, default 10. */
  stopSignal?: NodeJS.Signals;
  stopSeconds?: number;
}

export interface Daemon {
  pid: number;
  /** Standard output and error so far, at most the last MiB of each. */
  stdout: () => string;
  stderr: () => string;
  /** Resolves when the process is gone. */
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** Asks it to end, waits, kills what does not. */
  stop: () => Promise<void>;
  /** kill -9, and waits until it is gone. */
  kill: () => Promise<void>;
}

const running = new Set<number>();
process.once('exit', () => {
  for (const pid of running) killPid(pid, 'SIGKILL');
});

/**
 * Starts a program, waits until it is ready and keeps what it prints. It ends with this process, even when that is
 * killed (setpriv --pdeathsig, where there is one).
 *
 * @throws Error with the program's last output when it ends or does not become ready in time; it is gone then.
 */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const [command, args] = wrapped(options);
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] = (output[name] + text).slice(-MAX_OUTPUT);
    });
  }
  let ended = false;
  const exited: Daemon['exited'] = new Promise((resolve, reject) => {
    child.once('error', error => reject(new Error(`${options.name} could not be started: ${error.message}`)));
    child.once('exit', (code, signal) => {
      ended = true;
      running.delete(child.pid!);
      resolve({ code, signal });
    });
  });
  if (child.pid === undefined) {
    await exited;
    throw new Error(`${options.name} could not be started`);
  }
  const { pid } = child;
  running.add(pid);
  const daemon: Daemon = {
    pid,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    exited,
    kill: async () => {
      if (!ended) killPid(pid, 'SIGKILL');
      await exited;
    },
    stop: async () => {
      if (!ended) killPid(pid, options.stopSignal ?? 'SIGTERM');
      const giveUp = new AbortController();
      const late = sleep((options.stopSeconds ?? 10) * 1000, undefined, { signal: giveUp.signal }).then(
        () => killPid(pid, 'SIGKILL'),
        () => {},
      );
      await exited;
      giveUp.abort();
      await late;
    },
  };
  try {
    await waitUntil(`${options.name} is ready`, async () => ended || (await options.ready(daemon)), {
      seconds: options.readySeconds ?? 30,
    });
    if (ended) throw new Error(`${options.name} ended instead of becoming ready`);
  } catch (error) {
    await daemon.kill();
    const said = (output.stdout + output.stderr).slice(-3000);
    throw new Error(`${(error as Error).message}\n${said}`, { cause: error });
  }
  return daemon;
}

function wrapped(options: DaemonOptions): [string, string[]] {
  const { user } = options;
  if (!existsSync(SETPRIV)) {
    if (user !== undefined) throw new Error(`${options.name} needs ${SETPRIV} (package util-linux)`);
    return [options.command, [...options.args]];
  }
  const identity =
    user === undefined ? [] : ['--reuid', `${user.uid}`, '--regid', `${user.gid}`, '--clear-groups'];
  return [SETPRIV, [...identity, '--pdeathsig', 'KILL', options.command, ...options.args]];
}

function killPid(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
