import { isAlive, readProcess, sessionMembers } from './process-identity.ts';
import type { ProcessIdentity, ProcessSeen } from './process-identity.ts';

/** Sends a signal; a process that is already gone is no error. */
function signal(pid: number, name: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Asks a pilot to end: the starter passes it on; where only that is gone, whatever is left of its session is asked. */
export function askToEnd(identity: ProcessIdentity): void {
  if (!isAlive(identity)) return;
  const leader = readProcess(identity.pid);
  if (leader !== null && leader.state !== 'Z') signal(identity.pid, 'SIGTERM');
  else for (const member of sessionMembers(identity.pid)) signal(member.pid, 'SIGTERM');
}

/**
 * Ends a pilot by force: given `wrapperPid` (as the starter noted it) only what runs below the wrapper, so that this can
 * still end the payload's process group and say what happened; given null, or when nothing runs below it, everything of
 * the session.
 */
export function endByForce(identity: ProcessIdentity, wrapperPid: number | null): void {
  if (!isAlive(identity)) return;
  const members = sessionMembers(identity.pid);
  const below = members.filter(member => wrapperPid !== null && isBelow(member, wrapperPid, members));
  for (const member of below.length > 0 ? below : members) signal(member.pid, 'SIGKILL');
}

function isBelow(member: ProcessSeen, ancestor: number, members: readonly ProcessSeen[]): boolean {
  let { parent } = member;
  for (let depth = 0; depth < 64; depth += 1) {
    if (parent === ancestor) return true;
    const next = members.find(other => other.pid === parent);
    if (next === undefined) return false;
    ({ parent } = next);
  }
  return false;
}
