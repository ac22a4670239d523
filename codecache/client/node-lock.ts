import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { fromSystemError } from '../../lib/errors.ts';
import { codecacheError } from '../errors.ts';

const POLL_MS = 50;
/** A holder that died between making the lock and signing it is given this long. */
const UNSIGNED_MS = 5000;

export interface NodeLockOptions {
  storeDirectory: string;
  clock: Clock;
  /** Default half an hour: as long as a cold node may take to fetch. */
  waitSeconds?: number;
  signal?: AbortSignal | undefined;
}

export interface NodeLock {
  release(): Promise<void>;
}

/**
 * Waits to be the only one on this node that fetches into the store; wrappers honour the same lock (`lock/pid` holds
 * "pid starttime"). A lock whose owner is gone is taken over.
 *
 * @throws E_STORE_LOCKED after `waitSeconds`; the signal's reason.
 */
export async function takeNodeLock(options: NodeLockOptions): Promise<NodeLock> {
  const { clock, storeDirectory, signal, waitSeconds = 1800 } = options;
  const lock = join(storeDirectory, 'lock');
  const started = clock.monotonic();
  while (!(await take(lock))) {
    const waitedMs = clock.monotonic() - started;
    if (waitedMs > waitSeconds * 1000) {
      throw codecacheError({
        code: 'E_STORE_LOCKED',
        message: 'Another process on this node holds the store for too long.',
        where: lock,
        found: (await owner(lock)) || 'no owner',
        fix: 'Look at that process; remove the lock directory when it is gone.',
      });
    }
    await clearStale(lock, waitedMs > UNSIGNED_MS);
    await clock.sleep(POLL_MS, signal);
  }
  return { release: () => rm(lock, { recursive: true, force: true }) };
}

/** Runs `work` with the lock of {@link takeNodeLock}. @throws as that, and what `work` throws. */
export async function withNodeLock<T>(options: NodeLockOptions, work: () => Promise<T>): Promise<T> {
  const lock = await takeNodeLock(options);
  try {
    return await work();
  } finally {
    await lock.release();
  }
}

async function take(lock: string): Promise<boolean> {
  try {
    await mkdir(lock, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw fromSystemError(error, lock);
  }
  try {
    await writeFile(join(lock, 'pid'), `${process.pid} ${await startTime(process.pid)}\n`);
  } catch (error) {
    await rm(lock, { recursive: true, force: true });
    throw fromSystemError(error, lock);
  }
  return true;
}

async function clearStale(lock: string, unsignedToo: boolean): Promise<void> {
  const held = await owner(lock);
  const [pid, started] = held.split(' ');
  const gone = held === '' ? unsignedToo : (await startTime(Number(pid))) !== started;
  if (!gone) return;
  const aside = `${lock}.${randomBytes(6).toString('hex')}`;
  await rename(lock, aside).catch(() => undefined);
  await rm(aside, { recursive: true, force: true });
}

const owner = async (lock: string): Promise<string> =>
  (await readFile(join(lock, 'pid'), 'utf8').catch(() => '')).trim();

/** Start of a process in clock ticks, so that a reused pid is not taken for its first owner; empty when there is none. */
async function startTime(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}
