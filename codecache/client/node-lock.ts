import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
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
  const mine = `${process.pid} ${await startTime(process.pid)}`;
  const started = clock.monotonic();
  let unsigned: { id: string; sinceMs: number } | undefined;
  while (!(await take(lock, mine))) {
    const nowMs = clock.monotonic();
    const seen = await look(lock);
    if (nowMs - started > waitSeconds * 1000) {
      throw codecacheError({
        code: 'E_STORE_LOCKED',
        message: 'Another process on this node holds the store for too long.',
        where: lock,
        found: seen?.owner || 'no owner',
        fix: 'Look at that process; remove the lock directory when it is gone.',
      });
    }
    if (seen?.owner !== '') unsigned = undefined;
    else if (unsigned?.id !== seen.id) unsigned = { id: seen.id, sinceMs: nowMs };
    const isDead =
      unsigned === undefined
        ? seen !== undefined && !(await lives(seen.owner))
        : nowMs - unsigned.sinceMs > UNSIGNED_MS;
    if (seen !== undefined && isDead) await remove(lock, seen);
    await clock.sleep(POLL_MS, signal);
  }
  return {
    release: async () => {
      if ((await ownerOf(lock)) === mine) await rm(lock, { recursive: true, force: true });
    },
  };
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

async function take(lock: string, mine: string): Promise<boolean> {
  try {
    await mkdir(lock, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw fromSystemError(error, lock);
  }
  try {
    await writeFile(join(lock, 'pid'), `${mine}\n`);
    return true;
  } catch (error) {
    // Another process removed it, taking it for the dead one's that was there before.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    await rm(lock, { recursive: true, force: true });
    throw fromSystemError(error, lock);
  }
}

/** A lock as it was found; one that is made later under the same name is another. */
interface Found {
  id: string;
  /** Empty: it is not signed yet. */
  owner: string;
}

async function look(lock: string): Promise<Found | undefined> {
  const info = await stat(lock, { bigint: true }).catch(() => undefined);
  return info && { id: `${info.ino} ${info.mtimeNs}`, owner: await ownerOf(lock) };
}

/** Removes the lock that was found, and none that somebody else made in the meantime. */
async function remove(lock: string, found: Found): Promise<void> {
  const now = await look(lock);
  if (now?.id !== found.id || now.owner !== found.owner) return;
  const aside = `${lock}.${randomBytes(6).toString('hex')}`;
  await rename(lock, aside).catch(() => undefined);
  if ((await ownerOf(aside)) !== found.owner) await rename(aside, lock).catch(() => undefined);
  await rm(aside, { recursive: true, force: true });
}

const ownerOf = async (lock: string): Promise<string> =>
  (await readFile(join(lock, 'pid'), 'utf8').catch(() => '')).trim();

async function lives(owner: string): Promise<boolean> {
  const [pid, started] = owner.split(' ');
  return (await startTime(Number(pid))) === started;
}

/** Start of a process in clock ticks, so that a reused pid is not taken for its first owner; empty when there is none. */
async function startTime(pid: number): Promise<string> {
  const line = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return line.slice(line.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}
