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
  const [, parent] = rest;
  const ticks = rest.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return { pid: Number.parseInt(text, 10), parent: Number(parent), ticks };
}

/**
 * Processor seconds of a process and all below it. A child that has ended counts in its parent's sum, so the difference
 * of two calls holds what ended between them.
 */
export function treeSeconds(processes: readonly ProcessTimes[], root: number): number {
  const below = (pid: number): number =>
    processes.filter(({ parent }) => parent === pid).reduce((sum, child) => sum + of(child), 0);
  const of = ({ pid, ticks }: ProcessTimes): number => ticks + below(pid);
  const own = processes.find(({ pid }) => pid === root);
  if (own === undefined) throw new Error(`process ${root} is gone`);
  return of(own) / TICKS_PER_SECOND;
}

/** utime and stime of the tree that begins at `pid`. @throws Error when it is gone. */
export async function processorSeconds(pid: number): Promise<number> {
  const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name));
  const stats = await Promise.all(
    // A process may end between the two readings.
    pids.map(name => readFile(`/proc/${name}/stat`, 'utf8').catch(() => undefined)),
  );
  return treeSeconds(stats.filter(text => text !== undefined).map(parseStat), pid);
}
