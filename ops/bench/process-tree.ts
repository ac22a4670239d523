import { readFile, readdir } from 'node:fs/promises';

/** Of /proc: USER_HZ, 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

export interface ProcessTimes {
  pid: number;
  parent: number;
  /** utime and stime, and those of children that have ended and were waited for. */
  ticks: number;
}

/** Reads one /proc/PID/stat (proc_pid_stat(5)); the program's name in it may hold anything, parentheses too. */
export function parseStat(text: string): ProcessTimes {
  const rest = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const ticks = rest.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return { pid: Number.parseInt(text, 10), parent: Number(rest[1]), ticks };
}

/** A process and all below it. @throws Error when it is not there. */
export function treeOf(processes: readonly ProcessTimes[], root: number): ProcessTimes[] {
  const own = processes.find(({ pid }) => pid === root);
  if (own === undefined) throw new Error(`process ${root} is gone`);
  const children = processes.filter(({ parent }) => parent === root);
  return [own, ...children.flatMap(({ pid }) => treeOf(processes, pid))];
}

export async function readProcesses(): Promise<ProcessTimes[]> {
  const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name));
  const stats = await Promise.all(
    // A process may end between the two readings.
    pids.map(name => readFile(`/proc/${name}/stat`, 'utf8').catch(() => undefined)),
  );
  return stats.filter(text => text !== undefined).map(parseStat);
}

/**
 * Processor seconds of the tree that begins at `pid`, user and system. A child that has ended counts in its parent's sum,
 * so the difference of two calls holds what ended between them. @throws Error when it is gone.
 */
export async function processorSeconds(pid: number): Promise<number> {
  const ticks = treeOf(await readProcesses(), pid).reduce((sum, process) => sum + process.ticks, 0);
  return ticks / TICKS_PER_SECOND;
}

/** The most memory that each process of a tree has had at once (VmHWM), in bytes. */
export async function peakBytes(pid: number): Promise<number[]> {
  const tree = treeOf(await readProcesses(), pid);
  return Promise.all(tree.map(process => peakOf(process.pid)));
}

async function peakOf(pid: number): Promise<number> {
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1];
  if (kilobytes === undefined) throw new Error(`process ${pid} has no VmHWM`);
  return Number(kilobytes) * 1024;
}

/** How many files this process, and what it starts, may have open. */
export async function openFileLimit(): Promise<number> {
  const limits = await readFile('/proc/self/limits', 'utf8');
  const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
}
