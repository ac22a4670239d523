import { readFileSync, readdirSync } from 'node:fs';

/** A process as /proc/<pid>/stat tells it (proc(5)): pid alone is no identity, pid and start time are. */
export interface ProcessSeen {
  pid: number;
  /** One letter; Z and X are dead. */
  state: string;
  parent: number;
  session: number;
  /** Field 22: start time in clock ticks since boot. */
  startTicks: string;
}

/** What a started pilot's marker names. */
export interface ProcessIdentity {
  pid: number;
  startTicks: string;
  bootId: string;
}

export const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

/** Null when there is no such process. */
export function readProcess(pid: number): ProcessSeen | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return null; // it is gone, or its entry went while it was read
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, parent, , session] = fields;
  const startTicks = fields[19];
  if (state === undefined || startTicks === undefined) return null;
  return { pid, state, parent: Number(parent), session: Number(session), startTicks };
}

const isDead = (process: ProcessSeen): boolean => process.state === 'Z' || process.state === 'X';

/** Living processes of a session. */
export const sessionMembers = (session: number): ProcessSeen[] =>
  readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(name => readProcess(Number(name)))
    .filter(process => process !== null && process.session === session && !isDead(process)) as ProcessSeen[];

/**
 * Whether the pilot that was started under this identity still lives: its session leader, or, if only that one was
 * killed, anything left in its session. The kernel gives no new process a pid that still names a session, so a leader with
 * another start time means that the whole session is gone.
 */
export function isAlive(identity: ProcessIdentity, thisBootId = bootId()): boolean {
  if (identity.bootId !== thisBootId) return false;
  const leader = readProcess(identity.pid);
  if (leader !== null && leader.startTicks !== identity.startTicks) return false;
  if (leader !== null && !isDead(leader)) return true;
  return sessionMembers(identity.pid).length > 0;
}
