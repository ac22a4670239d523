import { readdir, rm, stat, unlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError } from '../../../lib/errors.ts';
import { ensureDirectory } from '../../../lib/files.ts';
import type { Logger } from '../../../lib/log.ts';
import type { DiskKeeper, Forgotten } from './disk-keeper.ts';
import { incomingDirectory, objectNames, objectPath } from './object-place.ts';

export interface DiskUsage {
  objects: number;
  bytes: number;
  /** Objects kept because a channel points to them, and their bytes. */
  pinned: number;
  pinnedBytes: number;
  /** Removed to make room, since the start. */
  evicted: number;
}

/** Of the quota for what is not pinned, after a clean-up. */
const LOW_WATER = 0.8;
/** Of the quota, for what is pinned: a channel of many releases leaves room for what is asked for. */
const PINNED_AT_MOST = 0.9;

/**
 * The keeper of a directory, in the process it runs in: least recently used out first by bytes, from the quota down to
 * 80 %, never what is pinned. Pins beyond 90 % of the quota are not honoured. The order of use is in the files' access
 * times, so it survives whatever ends the process.
 */
export class LocalKeeper implements DiskKeeper {
  readonly #directory: string;
  #maxBytes: number;
  readonly #log: Logger;
  /** Bytes by name, least recently used first. */
  readonly #kept = new Map<string, number>();
  readonly #pins = new Map<string, readonly string[]>();
  readonly #listeners: ((objects: Forgotten) => void)[] = [];
  #pinned = new Set<string>();
  #bytes = 0;
  #pinnedBytes = 0;
  #evicted = 0;
  #overPinned = false;
  /** Room being made, and how much of it is nobody's yet. */
  #making: Promise<{ removed: number; left: number }> | undefined;

  constructor(options: { directory: string; maxBytes: number; log: Logger }) {
    this.#directory = options.directory;
    this.#maxBytes = options.maxBytes;
    this.#log = options.log;
  }

  /**
   * Makes the index from what lies in the directory, and clears what killed processes left half-received.
   *
   * @throws E_PERMISSION and the like naming the directory.
   */
  async load(): Promise<void> {
    await ensureDirectory(join(this.#directory, 'objects'));
    await ensureDirectory(incomingDirectory(this.#directory));
    await this.#clearIncoming(pid => pid !== process.pid && alive(pid));
    const found: { sha256: string; bytes: number; usedMs: number }[] = [];
    for await (const sha256 of objectNames(this.#directory)) {
      const info = await stat(objectPath(this.#directory, sha256)).catch(() => undefined);
      if (info?.isFile() !== true) continue;
      found.push({ sha256, bytes: info.size, usedMs: Math.max(info.atimeMs, info.mtimeMs) });
    }
    for (const { sha256, bytes } of found.toSorted((a, b) => a.usedMs - b.usedMs)) this.#add(sha256, bytes);
    await this.#clean();
  }

  kept(sha256: string, bytes: number): void {
    this.#add(sha256, bytes);
    void this.#clean(sha256);
  }

  used(sha256: string): void {
    const bytes = this.#kept.get(sha256);
    if (bytes === undefined) return;
    this.#kept.delete(sha256);
    this.#kept.set(sha256, bytes);
    void this.#noteUse(objectPath(this.#directory, sha256));
  }

  lost(sha256: string): void {
    this.#drop(sha256);
  }

  pin(view: string, sha256s: readonly string[]): void {
    this.#pins.set(view, sha256s);
    this.#judgePins();
  }

  /** On a full disk many ask at once: what is removed for one of them is room for the others as well. */
  async makeRoom(bytes: number): Promise<number> {
    while (this.#making !== undefined) {
      const room = await this.#making;
      if (room.left < bytes) continue;
      room.left -= bytes;
      return bytes;
    }
    this.#making = this.#removeFor(bytes).finally(() => (this.#making = undefined));
    return (await this.#making).removed;
  }

  /** Another quota from now on: what is over it goes. */
  async resize(maxBytes: number): Promise<void> {
    this.#maxBytes = maxBytes;
    this.#judgePins();
    await this.#clean();
  }

  onForgotten(listener: (objects: Forgotten) => void): void {
    this.#listeners.push(listener);
  }

  /**
   * Removes objects, pinned or not, and tells every process, whose memory may hold more than the disk; without a list
   * all of them. @returns the names of those that were on disk.
   */
  async purge(sha256s?: readonly string[]): Promise<string[]> {
    const removed: string[] = [];
    try {
      for (const sha256 of sha256s ?? (await this.#everything())) {
        this.#drop(sha256);
        if (await this.#unlink(sha256)) removed.push(sha256);
      }
    } finally {
      for (const listener of this.#listeners) listener(sha256s ?? 'all');
    }
    return removed;
  }

  usage(): DiskUsage {
    return {
      objects: this.#kept.size,
      bytes: this.#bytes,
      pinned: this.#pinned.size,
      pinnedBytes: this.#pinnedBytes,
      evicted: this.#evicted,
    };
  }

  /** Removes what ended processes were receiving. */
  async clearIncoming(): Promise<void> {
    try {
      await this.#clearIncoming(alive);
    } catch (error) {
      this.#log.warn({ err: error }, 'what ended processes left could not be looked for');
    }
  }

  async #removeFor(bytes: number): Promise<{ removed: number; left: number }> {
    await this.clearIncoming();
    const removable = this.#bytes - this.#pinnedBytes;
    // In vain nothing is removed.
    if (bytes > removable) return { removed: 0, left: 0 };
    // A tenth at least: a disk smaller than the quota would otherwise be full again with the next object.
    const wanted = Math.max(bytes, Math.min(removable, this.#bytes / 10));
    let removed = 0;
    for (const sha256 of this.#kept.keys()) {
      if (removed >= wanted) break;
      if (!this.#pinned.has(sha256)) removed += await this.#evict(sha256);
    }
    this.#log.warn({ wanted, removed }, 'the disk is full; objects were removed to make room');
    return { removed, left: Math.max(0, removed - bytes) };
  }

  /** What the index knows, and what else lies there: put there by hand, or by a process that ended before it told. */
  async #everything(): Promise<Set<string>> {
    return new Set([...this.#kept.keys(), ...(await Array.fromAsync(objectNames(this.#directory)))]);
  }

  /** @returns whether there was such an object. @throws E_PERMISSION and the like. */
  async #unlink(sha256: string): Promise<boolean> {
    try {
      await unlink(objectPath(this.#directory, sha256));
      return true;
    } catch (error) {
      if (['ENOENT', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
      throw fromSystemError(error, sha256);
    }
  }

  #add(sha256: string, bytes: number): void {
    this.#drop(sha256);
    this.#kept.set(sha256, bytes);
    this.#bytes += bytes;
    this.#judgePins();
  }

  #drop(sha256: string): number {
    const bytes = this.#kept.get(sha256);
    if (bytes === undefined) return 0;
    this.#kept.delete(sha256);
    this.#bytes -= bytes;
    this.#judgePins();
    return bytes;
  }

  /** Which of the pinned names are here and within what pins may use. */
  #judgePins(): void {
    if (this.#pins.size === 0) return;
    const most = this.#maxBytes * PINNED_AT_MOST;
    const pinned = new Set<string>();
    let bytes = 0;
    let over = false;
    for (const sha256 of [...this.#pins.values()].flat()) {
      const size = this.#kept.get(sha256);
      if (size === undefined || pinned.has(sha256)) continue;
      if (bytes + size > most) {
        over = true;
        continue;
      }
      pinned.add(sha256);
      bytes += size;
    }
    this.#pinned = pinned;
    this.#pinnedBytes = bytes;
    if (over && !this.#overPinned)
      this.#log.warn(
        { maxBytes: this.#maxBytes, pinnedBytes: bytes },
        'channels point to more than 90 % of the disk quota; the rest is not pinned',
      );
    this.#overPinned = over;
  }

  /** Down to the low water of what is not pinned; `newest` only goes when it does not fit beside what is pinned. */
  async #clean(newest?: string): Promise<void> {
    const free = this.#maxBytes - this.#pinnedBytes;
    if (newest !== undefined && !this.#pinned.has(newest) && (this.#kept.get(newest) ?? 0) > free)
      return void (await this.#evict(newest));
    if (this.#bytes <= this.#maxBytes) return;
    for (const sha256 of this.#kept.keys()) {
      if (this.#bytes - this.#pinnedBytes <= free * LOW_WATER) break;
      if (sha256 !== newest && !this.#pinned.has(sha256)) await this.#evict(sha256);
    }
  }

  async #evict(sha256: string): Promise<number> {
    const bytes = this.#drop(sha256);
    this.#evicted += 1;
    try {
      await rm(objectPath(this.#directory, sha256), { force: true });
    } catch (error) {
      this.#log.warn({ sha256, err: error }, 'an object could not be removed from disk');
    }
    return bytes;
  }

  /** For the order of use at the next start; a file that is gone or a disk that takes no note costs just that. */
  async #noteUse(path: string): Promise<void> {
    const info = await stat(path).catch(() => undefined);
    if (info === undefined) return;
    const storedSeconds = Math.floor(info.mtimeMs / 1000);
    await utimes(path, Date.now() / 1000, storedSeconds).catch(() => undefined);
  }

  async #clearIncoming(inUse: (pid: number) => boolean): Promise<void> {
    const directory = incomingDirectory(this.#directory);
    for (const name of await readdir(directory)) {
      if (inUse(Number(name.split('-')[0]))) continue;
      await rm(join(directory, name), { force: true }).catch((error: unknown) =>
        this.#log.warn({ name, err: error }, 'what an ended process left could not be removed'),
      );
    }
  }
}

/** Is a file of this process id still being written? Several processes may share the directory. */
function alive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
