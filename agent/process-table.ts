import { closeSync, openSync, readFileSync, readSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

/** One row of the kernel's process table, from `/proc/<pid>/stat` (proc_pid_stat(5)). */
export interface ProcessRow {
  pid: number;
  parentPid: number;
  groupId: number;
  sessionId: number;
  /** One letter: R, S, D, Z, T, ... */
  state: string;
  /** Clock ticks after boot; with the pid it names a process for good. */
  startTicks: number;
  /** User and system time of the process itself, in ticks. */
  cpuTicks: number;
  /** User and system time of children it has waited for, in ticks. */
  reapedCpuTicks: number;
  residentPages: number;
}

/** Ticks per second of every time in /proc: USER_HZ, 100 on every Linux architecture. */
export const TICKS_PER_SECOND = 100;

// Node would take 64 KiB for each file of unknown size: tens of megabytes for one look at the table.
const scratch = Buffer.alloc(16 * 1024);

/** The first 16 KiB of a file of /proc. */
function readSmall(path: string): string {
  const file = openSync(path, 'r');
  try {
    return scratch.toString('latin1', 0, readSync(file, scratch, 0, scratch.length, null));
  } finally {
    closeSync(file);
  }
}

/** The row of one process, or undefined when it is gone. */
export function readProcess(pid: number | 'self'): ProcessRow | undefined {
  let text: string;
  try {
    text = readSmall(`/proc/${pid}/stat`);
  } catch {
    return undefined;
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const field = (number: number) => Number(fields[number - 3]);
  return {
    pid: Number.parseInt(text, 10),
    state: fields[0]!,
    parentPid: field(4),
    groupId: field(5),
    sessionId: field(6),
    cpuTicks: field(14) + field(15),
    reapedCpuTicks: field(16) + field(17),
    startTicks: field(22),
    residentPages: field(24),
  };
}

/** Ids of all processes that this user may see. */
export function listProcesses(): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter(pid => pid > 0);
}

/** Children of every thread of a process; undefined where the kernel was built without that file. */
export function childrenOf(pid: number): number[] | undefined {
  const children: number[] = [];
  let threads: string[];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
  for (const thread of threads) {
    try {
      const text = readSmall(`/proc/${pid}/task/${thread}/children`);
      for (const child of text.split(' ')) if (child !== '') children.push(Number(child));
    } catch (error) {
      if (!childrenFileWorks() && (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    }
  }
  return children;
}

let childrenFile: boolean | undefined;
function childrenFileWorks(): boolean {
  if (childrenFile === undefined) {
    try {
      readSmall(`/proc/self/task/${process.pid}/children`);
      childrenFile = true;
    } catch {
      childrenFile = false;
    }
  }
  return childrenFile;
}

/** Whether the environment a process started with holds `assignment` (`NAME=value`); false when it may not be read. */
export function startedWith(pid: number, assignment: string): boolean {
  try {
    return `\0${readFileSync(`/proc/${pid}/environ`, 'latin1')}`.includes(`\0${assignment}\0`);
  } catch {
    return false;
  }
}

/** Proportional memory of a process, swap included, in bytes; undefined when it is gone or may not be read. */
export async function proportionalBytes(pid: number): Promise<number | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/smaps_rollup`, 'latin1');
    const kibibytes = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0);
    return (kibibytes('Pss') + kibibytes('SwapPss')) * 1024;
  } catch {
    return undefined;
  }
}

let knownPageBytes: number | undefined;

/** Size of a memory page here; Node has no call for it. */
export function pageBytes(): number {
  if (knownPageBytes === undefined) {
    const text = readSmall('/proc/self/smaps');
    knownPageBytes = Number(/KernelPageSize:\s+(\d+) kB/.exec(text)?.[1] ?? 4) * 1024;
  }
  return knownPageBytes;
}
