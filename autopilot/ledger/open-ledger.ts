import { existsSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { ensureDirectory } from '../../lib/files.ts';
import { newId } from '../../lib/ids.ts';
import { autopilotError } from '../errors.ts';
import { lockLedger } from './lock.ts';
import type { ProcessLock } from '../../lib/process-lock.ts';
import { prepareSchema } from './schema.ts';

/** Whose pilots a ledger holds; fixed when it is made. */
export interface LedgerOwner {
  queue: string;
  /** Name under which the server knows this ledger's submissions; one ledger, one factory. */
  factory: string;
}

export interface Ledger {
  db: DatabaseSync;
  owner: LedgerOwner;
  close(): void;
}

export const ledgerPath = (stateDirectory: string): string => join(stateDirectory, 'ledger.sqlite');

/**
 * Opens (and makes) the ledger of one queue for writing, alone: WAL, synchronous=FULL, so that what was written stands
 * after a power cut. Also the state directory itself, mode 0700.
 *
 * @param owner.factory default: a name minted for this ledger.
 * @throws E_LEDGER_LOCKED naming the process that has it; E_LEDGER_FOREIGN when it belongs to another queue or factory;
 *   E_LEDGER_SCHEMA, E_LEDGER_UNREADABLE, E_PERMISSION.
 */
export async function openLedger(
  stateDirectory: string,
  owner: { queue: string; factory?: string | undefined },
): Promise<Ledger> {
  await ensureDirectory(stateDirectory, 0o700);
  const lock = lockLedger(stateDirectory);
  try {
    const path = ledgerPath(stateDirectory);
    const db = openDatabase(path, false);
    try {
      prepareSchema(db, path);
      await chmod(path, 0o600);
      return { db, owner: claimOwner(db, path, owner), close: () => closeBoth(db, lock) };
    } catch (error) {
      db.close();
      throw error;
    }
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Opens an existing ledger to look at it, also while an autopilot has it. Null when there is none yet. */
export function readLedger(stateDirectory: string): Ledger | null {
  const path = ledgerPath(stateDirectory);
  if (!existsSync(path)) return null;
  const db = openDatabase(path, true);
  const owner = storedOwner(db);
  if (owner === null) {
    db.close();
    return null;
  }
  return { db, owner, close: () => db.close() };
}

/** Opens the ledger alone, whatever queue it is for. @throws E_LEDGER_LOCKED; null when there is none. */
export async function openExistingLedger(stateDirectory: string): Promise<Ledger | null> {
  const seen = readLedger(stateDirectory);
  if (seen === null) return null;
  seen.close();
  return openLedger(stateDirectory, seen.owner);
}

function openDatabase(path: string, readOnly: boolean): DatabaseSync {
  try {
    const db = new DatabaseSync(path, { readOnly });
    db.exec('pragma busy_timeout = 5000; pragma foreign_keys = on;');
    if (!readOnly) db.exec('pragma journal_mode = wal; pragma synchronous = full;');
    return db;
  } catch (error) {
    throw autopilotError({
      code: 'E_LEDGER_UNREADABLE',
      message: `The ledger cannot be opened: ${(error as Error).message}.`,
      where: path,
      fix: 'Check that the file is a ledger and that its owner is this user.',
      cause: error,
    });
  }
}

function storedOwner(db: DatabaseSync): LedgerOwner | null {
  const exists = db.prepare("select 1 from sqlite_master where name = 'meta'").get();
  if (exists === undefined) return null;
  const rows = db.prepare('select key, value from meta').all() as { key: string; value: string }[];
  const value = (key: string) => rows.find(row => row.key === key)?.value;
  const [queue, factory] = [value('queue'), value('factory')];
  return queue === undefined || factory === undefined ? null : { queue, factory };
}

function claimOwner(
  db: DatabaseSync,
  path: string,
  wanted: { queue: string; factory?: string | undefined },
): LedgerOwner {
  const stored = storedOwner(db);
  if (stored === null) {
    const owner = { queue: wanted.queue, factory: wanted.factory ?? `ap-${newId().toLowerCase()}` };
    const insert = db.prepare('insert into meta (key, value) values (?, ?)');
    db.exec('begin immediate');
    insert.run('queue', owner.queue);
    insert.run('factory', owner.factory);
    db.exec('commit');
    return owner;
  }
  for (const field of ['queue', 'factory'] as const) {
    if (wanted[field] !== undefined && wanted[field] !== stored[field]) {
      throw autopilotError({
        code: 'E_LEDGER_FOREIGN',
        message: `This ledger holds the pilots of another ${field}.`,
        where: path,
        expected: `${field} ${wanted[field]}`,
        found: `${field} ${stored[field]}`,
        fix: 'Name a --state directory of its own for each queue and factory.',
      });
    }
  }
  return stored;
}

function closeBoth(db: DatabaseSync, lock: ProcessLock): void {
  db.close();
  lock.release();
}
