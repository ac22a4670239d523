import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { fromSystemError } from './errors.ts';

export interface ProcessLock {
  release(): void;
}

/** Whether a process has a lock now, and its pid where that can be read. */
export interface LockState {
  held: boolean;
  pid: number | null;
}

const holderFile = (file: string): string => `${file}.holder`;
const SQLITE_BUSY = 5;

/**
 * Takes a lock that one process at a time can have: the kernel's, by an exclusive transaction on an empty SQLite file. It
 * falls with the process however that ends, so there is nothing stale to judge, and children do not inherit it.
 *
 * @param graceMs how long this call may block for somebody who only looks; default 500.
 * @returns null when another process, or another holder in this one, has it.
 * @throws E_PERMISSION and the like, naming the file.
 */
export function tryProcessLock(file: string, graceMs = 500): ProcessLock | null {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file, { timeout: graceMs });
    database.exec('BEGIN EXCLUSIVE');
    writeFileSync(holderFile(file), `${process.pid}\n`, { mode: 0o600 });
  } catch (error) {
    database?.close();
    if (isBusy(error)) return null;
    throw fromSystemError(error, file);
  }
  const held = database;
  return { release: () => held.close() };
}

/** Who has the lock of a file, without taking it. @throws as {@link tryProcessLock}. */
export function lockState(file: string): LockState {
  if (!existsSync(file)) return { held: false, pid: null };
  const database = new DatabaseSync(file, { readOnly: true, timeout: 0 });
  try {
    database.exec('BEGIN; SELECT * FROM sqlite_master; ROLLBACK');
    return { held: false, pid: null };
  } catch (error) {
    if (!isBusy(error)) throw fromSystemError(error, file);
    return { held: true, pid: readHolder(file) };
  } finally {
    database.close();
  }
}

const isBusy = (error: unknown): boolean => (error as { errcode?: number }).errcode === SQLITE_BUSY;

function readHolder(file: string): number | null {
  try {
    const pid = Number(readFileSync(holderFile(file), 'utf8').trim());
    return Number.isSafeInteger(pid) && pid > 0 ? pid : null;
  } catch {
    return null;
  }
}
