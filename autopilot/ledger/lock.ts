import { join } from 'node:path';
import { lockState, tryProcessLock } from '../../lib/process-lock.ts';
import type { LockState, ProcessLock } from '../../lib/process-lock.ts';
import { autopilotError } from '../errors.ts';

const lockPath = (stateDirectory: string): string => join(stateDirectory, 'lock.sqlite');

/**
 * Takes the process lock of a state directory; pilots, being other processes, do not inherit it.
 *
 * @throws E_LEDGER_LOCKED naming the pid that has it.
 */
export function lockLedger(stateDirectory: string): ProcessLock {
  const lock = tryProcessLock(lockPath(stateDirectory));
  if (lock) return lock;
  const { pid } = lockHolder(stateDirectory);
  throw autopilotError({
    code: 'E_LEDGER_LOCKED',
    message: `Another autopilot has this ledger${pid === null ? '' : `: process ${pid}`}.`,
    where: stateDirectory,
    expected: 'one autopilot for each state directory',
    found: pid === null ? 'a locked ledger' : `pid ${pid}`,
    fix: 'End that one first (SIGTERM; its pilots go on), or name another --state directory.',
  });
}

/** Whether an autopilot works on a state directory now, and its pid where that can be read. */
export const lockHolder = (stateDirectory: string): LockState => lockState(lockPath(stateDirectory));
