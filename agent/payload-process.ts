import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { constants, openSync, closeSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { writeFileAtomic } from '../lib/files.ts';
import type { BoundedLog } from './bounded-log.ts';
import { agentError } from './errors.ts';

export interface PayloadEnd {
  exitCode: number | null;
  signal: string | null;
}

export interface PayloadProcess {
  pid: number;
  /** Resolves when the payload's first process has ended. */
  ended: Promise<PayloadEnd>;
  /** Resolves when every holder of stdout and stderr has closed them, or after `deadlineMs`. */
  drained(deadlineMs: number): Promise<void>;
}

// Waits for a line on descriptor 3 before it becomes the payload: when the pilot dies before it has written down the
// process group, the descriptor closes and nothing is ever started.
const GATE = 'IFS= read -r go <&3 || exit 125; exec 3<&-; exec "$@"';

/**
 * Starts a payload in its own session and process group, with nothing of the pilot's but two pipes.
 *
 * The group's id is in `groupFile` before the first instruction of the payload runs. stdout and stderr are FIFOs, not
 * the sockets that Node makes, so that a payload may open /dev/stdout and /dev/stderr.
 *
 * @throws E_PAYLOAD_NOT_STARTED for arguments that no program can be given; the system's error when even a shell cannot
 *   be started (out of processes or memory).
 */
export async function startPayload(options: {
  program: string;
  arguments: readonly string[];
  environment: Record<string, string>;
  workDirectory: string;
  privateDirectory: string;
  groupFile: string;
  stdout: BoundedLog;
  stderr: BoundedLog;
}): Promise<PayloadProcess> {
  const pipes = await openPipes(options.privateDirectory);
  let child: ChildProcess;
  try {
    child = spawn('/bin/sh', ['-c', GATE, 'payload', options.program, ...options.arguments], {
      cwd: options.workDirectory,
      env: options.environment,
      detached: true,
      stdio: ['ignore', pipes[0].write, pipes[1].write, 'pipe'],
    });
  } catch (error) {
    for (const pipe of pipes) closeSync(pipe.read);
    throw notStarted(error, options.program);
  } finally {
    for (const pipe of pipes) closeSync(pipe.write);
  }
  const copies = [copyTo(pipes[0].read, options.stdout), copyTo(pipes[1].read, options.stderr)];
  const stopCopies = () => copies.forEach(copy => copy.socket.destroy());
  const ended = new Promise<PayloadEnd>((resolve, reject) => {
    child.once('error', error => {
      stopCopies();
      reject(notStarted(error, options.program));
    });
    child.once('exit', (exitCode, signal) => resolve({ exitCode, signal }));
  });
  ended.catch(() => undefined);
  const gate = child.stdio[3] as Socket;
  gate.on('error', () => undefined);
  if (child.pid === undefined) await ended;
  try {
    await writeFileAtomic(options.groupFile, `${child.pid}\n`, { mode: 0o600 });
  } catch (error) {
    gate.destroy();
    stopCopies();
    throw error;
  }
  gate.end('go\n');
  return {
    pid: child.pid!,
    ended,
    drained: async deadlineMs => {
      const timer = setTimeout(stopCopies, deadlineMs);
      await Promise.all(copies.map(copy => copy.done));
      clearTimeout(timer);
    },
  };
}

/** Arguments or environment that no program can be given are the job's fault; anything else is the node's. */
function notStarted(error: unknown, where: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code !== 'E2BIG' && code !== 'ERR_INVALID_ARG_VALUE') return error;
  return agentError({
    code: 'E_PAYLOAD_NOT_STARTED',
    message: code === 'E2BIG' ? 'The arguments and environment are larger than the system takes.' : message,
    where,
    fix: 'Put large or binary data into an input file.',
  });
}

interface Pipe {
  read: number;
  write: number;
}

/** Two FIFOs that have no name any more when this returns. */
async function openPipes(directory: string): Promise<[Pipe, Pipe]> {
  const paths = [join(directory, '.stdout.fifo'), join(directory, '.stderr.fifo')] as const;
  await promisify(execFile)('mkfifo', ['-m', '600', ...paths], { timeout: 10_000 });
  const opened = paths.map(path => ({
    // Read end first and non-blocking: the write end then opens at once.
    read: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK),
    write: openSync(path, constants.O_WRONLY),
  }));
  await Promise.all(paths.map(path => rm(path)));
  return [opened[0]!, opened[1]!];
}

function copyTo(fd: number, log: BoundedLog): { socket: Socket; done: Promise<void> } {
  const socket = new Socket({ fd, readable: true, writable: false });
  const copy = async () => {
    for await (const chunk of socket) await log.write(chunk as Buffer);
  };
  // A pipe that is cut off (its holder outlived the payload) ends the copy; what was read stays.
  return { socket, done: copy().catch(() => undefined) };
}
