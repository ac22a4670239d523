import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fromSystemError } from '../../lib/errors.ts';
import { autopilotError } from '../errors.ts';

export interface LedgerLock {
  release(): void;
}

const lockPath = (stateDirectory: string): string => join(stateDirectory, 'lock.sqlite');
const holderPath = (stateDirectory: string): string => join(stateDirectory, 'holder');

/**
 * Takes the process lock of a state directory. It is the kernel's lock on an SQLite file, so it falls with the process
 * however that ends; there is nothing stale to judge. Pilots, being other processes, do not inherit it.
 *
 * @throws E_LEDGER_LOCKED naming the pid that has it.
 */
export function lockLedger(stateDirectory: string): LedgerLock {
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(lockPath(stateDirectory));
    db.exec('pragma busy_timeout = 500; begin exclusive;');
    writeFileSync(holderPath(stateDirectory), `${process.pid}\n`, { mode: 0o600 });
  } catch (error) {
    db?.close();
    if (isBusy(error)) throw locked(stateDirectory);
    throw fromSystemError(error, lockPath(stateDirectory));
  }
  const held = db;
  return { release: () => held.close() };
}

/** Whether a process has the lock now, and its pid where that can be read. */
export function lockHolder(stateDirectory: string): { held: boolean; pid: number | null } {
  if (!existsSync(lockPath(stateDirectory))) return { held: false, pid: null };
  const db = new DatabaseSync(lockPath(stateDirectory), { readOnly: true });
  try {
    db.exec('pragma busy_timeout = 0; begin; select * from sqlite_master; rollback;');
    return { held: false, pid: null };
  } catch (error) {
    if (!isBusy(error)) throw fromSystemError(error, lockPath(stateDirectory));
    return { held: true, pid: readHolder(stateDirectory) };
  } finally {
    db.close();
  }
}

const isBusy = (error: unknown): boolean => /locked|busy/i.test((error as Error).message);

function readHolder(stateDirectory: string): number | null {
  try {
    const pid = Number(readFileSync(holderPath(stateDirectory), 'utf8').trim());
    return Number.isSafeInteger(pid) && pid > 0 ? pid : null;
  } catch {
    return null;
  }
}

function locked(stateDirectory: string) {
  const pid = readHolder(stateDirectory);
  return autopilotError({
    code: 'E_LEDGER_LOCKED',
    message: `Another autopilot has this ledger${pid === null ? '' : `: process ${pid}`}.`,
    where: stateDirectory,
    expected: 'one autopilot for each state directory',
    found: pid === null ? 'a locked ledger' : `pid ${pid}`,
    fix: 'End that one first (SIGTERM; its pilots go on), or name another --state directory.',
  });
}
