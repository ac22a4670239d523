import {
  childrenOf,
  listProcesses,
  pageBytes,
  proportionalBytes,
  readProcess,
  startedWith,
} from './process-table.ts';
import type { ProcessRow } from './process-table.ts';

/**
 * All processes of one payload: its group, its session, everything that descends from it, and everything that carries
 * its attempt's mark in its environment although it left both (setsid, double fork). A process is known by pid and start
 * time, so that a pid used again is never mistaken for it. A process that clears its environment and leaves group,
 * session and parent between two samples is not found: only a container holds that one.
 */
export class ProcessTree {
  readonly rootPid: number;
  readonly #mark: string;
  readonly #rootStartTicks: number;
  readonly #members = new Map<number, number>();
  readonly #strangers = new Map<number, number>();

  constructor(options: { rootPid: number; mark: string }) {
    this.rootPid = options.rootPid;
    this.#mark = options.mark;
    const root = readProcess(options.rootPid);
    this.#rootStartTicks = root?.startTicks ?? 0;
    if (root) this.#members.set(root.pid, root.startTicks);
  }

  /**
   * The living members now, zombies left out.
   *
   * @param thorough also searches the whole process table for members that left the tree; dearer by far.
   */
  refresh(thorough: boolean): ProcessRow[] {
    const living = new Map<number, ProcessRow>();
    for (const [pid, startTicks] of this.#members) {
      const row = readProcess(pid);
      if (row?.startTicks === startTicks) living.set(pid, row);
      else this.#members.delete(pid);
    }
    const everyChildSeen = this.#addDescendants([...living.keys()], living);
    if (thorough || !everyChildSeen) this.#searchTable(living);
    return [...living.values()].filter(row => row.state !== 'Z' && row.state !== 'X');
  }

  #addDescendants(queue: number[], living: Map<number, ProcessRow>): boolean {
    for (let pid = queue.pop(); pid !== undefined; pid = queue.pop()) {
      const children = childrenOf(pid);
      if (children === undefined) return false;
      for (const child of children) {
        if (living.has(child)) continue;
        const row = readProcess(child);
        if (!row) continue;
        this.#admit(row, living);
        queue.push(child);
      }
    }
    return true;
  }

  #searchTable(living: Map<number, ProcessRow>): void {
    const others: ProcessRow[] = [];
    for (const pid of listProcesses()) {
      if (living.has(pid) || pid === process.pid) continue;
      const row = readProcess(pid);
      if (row && row.startTicks >= this.#rootStartTicks) others.push(row);
    }
    for (let found = true; found;) {
      found = false;
      for (const row of others) {
        if (living.has(row.pid) || !this.#belongs(row, living)) continue;
        this.#admit(row, living);
        found = true;
      }
    }
    const present = new Set(others.map(row => row.pid));
    for (const pid of this.#strangers.keys()) if (!present.has(pid)) this.#strangers.delete(pid);
  }

  #belongs(row: ProcessRow, living: Map<number, ProcessRow>): boolean {
    if (row.groupId === this.rootPid || row.sessionId === this.rootPid || living.has(row.parentPid))
      return true;
    if (this.#strangers.get(row.pid) === row.startTicks) return false;
    if (startedWith(row.pid, this.#mark)) return true;
    this.#strangers.set(row.pid, row.startTicks);
    return false;
  }

  #admit(row: ProcessRow, living: Map<number, ProcessRow>): void {
    living.set(row.pid, row);
    this.#members.set(row.pid, row.startTicks);
  }

  /** Sends a signal to the group and to every member outside it; returns how many members there were. */
  signal(name: 'SIGTERM' | 'SIGKILL'): number {
    const members = this.refresh(true);
    if (members.some(row => row.groupId === this.rootPid)) sendSignal(-this.rootPid, name);
    for (const row of members) if (row.groupId !== this.rootPid) sendSignal(row.pid, name);
    return members.length;
  }
}

function sendSignal(target: number, name: NodeJS.Signals): void {
  try {
    process.kill(target, name);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ESRCH' && code !== 'EPERM') throw error;
  }
}

/** Resident memory of all, pages shared between them counted for each: never less than what they really use. */
export const residentBytes = (rows: readonly ProcessRow[]): number =>
  rows.reduce((sum, row) => sum + row.residentPages, 0) * pageBytes();

/** Memory of all with shared pages counted once; a process that may not be read counts with its resident memory. */
export async function sharedOnceBytes(rows: readonly ProcessRow[]): Promise<number> {
  const each = await Promise.all(
    rows.map(async row => (await proportionalBytes(row.pid)) ?? row.residentPages * pageBytes()),
  );
  return each.reduce((sum, bytes) => sum + bytes, 0);
}
