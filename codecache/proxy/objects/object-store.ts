import { createHash, randomBytes } from 'node:crypto';
import { open, readFile, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { LRUCache } from 'lru-cache';
import { ensureDirectory, syncDirectory } from '../../../lib/files.ts';
import type { Logger } from '../../../lib/log.ts';

interface Kept {
  bytes: number;
  storedMs: number;
  /** Hashed by this process, on arrival or at first use after a start. */
  verified: boolean;
}

export interface OpenObject {
  file: FileHandle;
  bytes: number;
  storedMs: number;
}

/**
 * Hash-named objects on disk, `DIR/objects/<2 hex>/<sha256>`: one copy whatever upstream or path it came by. The index
 * is rebuilt from the directory at start; an object of an earlier run is hashed again before its first use.
 */
export class ObjectStore {
  readonly #directory: string;
  readonly #log: Logger;
  readonly #maxBytes: number;
  readonly #index: LRUCache<string, Kept>;
  readonly #checks = new Map<string, Promise<boolean>>();

  constructor(options: { directory: string; maxBytes: number; log: Logger }) {
    this.#directory = options.directory;
    this.#log = options.log;
    this.#maxBytes = options.maxBytes;
    this.#index = new LRUCache<string, Kept>({
      maxSize: options.maxBytes,
      sizeCalculation: kept => Math.max(1, kept.bytes),
      dispose: (_kept, sha256, reason) => {
        if (reason === 'evict') void rm(this.#path(sha256), { force: true }).catch(() => undefined);
      },
    });
  }

  /** Rebuilds the index, oldest first, and clears what a killed process left half-written. */
  async load(): Promise<void> {
    await ensureDirectory(join(this.#directory, 'objects'));
    await ensureDirectory(join(this.#directory, 'incoming'));
    await this.#clearIncoming();
    const found: { sha256: string; bytes: number; storedMs: number; usedMs: number }[] = [];
    for (const entry of await readdir(join(this.#directory, 'objects'), {
      recursive: true,
      withFileTypes: true,
    })) {
      if (!entry.isFile() || !/^[0-9a-f]{64}$/.test(entry.name)) continue;
      const info = await stat(join(entry.parentPath, entry.name));
      found.push({ sha256: entry.name, bytes: info.size, storedMs: info.mtimeMs, usedMs: info.atimeMs });
    }
    for (const { sha256, bytes, storedMs } of found.sort((a, b) => a.usedMs - b.usedMs)) {
      this.#index.set(sha256, { bytes, storedMs, verified: false });
    }
  }

  /** Opens a kept object; the caller closes it. Undefined when it is not here (any more) or turned out damaged. */
  async open(sha256: string): Promise<OpenObject | undefined> {
    const kept = this.#index.get(sha256);
    if (kept === undefined) return undefined;
    if (!kept.verified && !(await this.#verify(sha256, kept))) return undefined;
    try {
      const file = await open(this.#path(sha256), 'r');
      return { file, bytes: kept.bytes, storedMs: kept.storedMs };
    } catch (error) {
      this.#index.delete(sha256);
      this.#log.warn({ sha256, err: error }, 'a kept object cannot be opened');
      return undefined;
    }
  }

  /** All of a kept object, hashed as it is read; undefined when it is larger, not here, or turned out damaged. */
  async read(sha256: string, maxBytes: number): Promise<{ body: Buffer; storedMs: number } | undefined> {
    const kept = this.#index.get(sha256);
    if (kept === undefined || kept.bytes > maxBytes) return undefined;
    const body = await readFile(this.#path(sha256)).catch(() => undefined);
    if (body !== undefined && createHash('sha256').update(body).digest('hex') === sha256)
      return { body, storedMs: kept.storedMs };
    this.#log.error({ sha256 }, 'a kept object is damaged and was removed');
    this.#index.delete(sha256);
    await rm(this.#path(sha256), { force: true });
    return undefined;
  }

  /** A new file to receive an object into. */
  async incoming(): Promise<{ path: string; file: FileHandle }> {
    const path = join(this.#directory, 'incoming', `${process.pid}-${randomBytes(8).toString('hex')}`);
    return { path, file: await open(path, 'wx+', 0o644) };
  }

  /** Puts a received and verified file in its place: fsync, rename. An object over the whole quota is not kept. */
  async commit(
    temporary: string,
    file: FileHandle,
    sha256: string,
    bytes: number,
    nowMs: number,
  ): Promise<void> {
    if (bytes > this.#maxBytes) return rm(temporary, { force: true });
    await file.sync();
    const path = this.#path(sha256);
    await ensureDirectory(dirname(path));
    await rename(temporary, path);
    await syncDirectory(dirname(path));
    this.#index.set(sha256, { bytes, storedMs: nowMs, verified: true });
  }

  /** An object was served from elsewhere: it is in use. */
  used(sha256: string): void {
    this.#index.get(sha256);
  }

  get size(): { objects: number; bytes: number } {
    return { objects: this.#index.size, bytes: this.#index.calculatedSize };
  }

  /** Writes the order of use to the files' access times, for the next start. */
  async close(): Promise<void> {
    let usedMs = Date.now() - this.#index.size;
    for (const sha256 of this.#index.rkeys()) {
      const kept = this.#index.peek(sha256)!;
      usedMs += 1;
      await utimes(this.#path(sha256), usedMs / 1000, kept.storedMs / 1000).catch(() => undefined);
    }
  }

  #path(sha256: string): string {
    return join(this.#directory, 'objects', sha256.slice(0, 2), sha256);
  }

  #verify(sha256: string, kept: Kept): Promise<boolean> {
    const running = this.#checks.get(sha256);
    if (running !== undefined) return running;
    const check = this.#hash(sha256).then(async found => {
      this.#checks.delete(sha256);
      kept.verified = found === sha256;
      if (kept.verified) return true;
      this.#log.error({ sha256, found }, 'a kept object is damaged and was removed');
      this.#index.delete(sha256);
      await rm(this.#path(sha256), { force: true });
      return false;
    });
    this.#checks.set(sha256, check);
    return check;
  }

  async #hash(sha256: string): Promise<string> {
    const hash = createHash('sha256');
    try {
      await using file = await open(this.#path(sha256), 'r');
      await pipeline(file.createReadStream({ autoClose: false, highWaterMark: 1 << 18 }), hash);
    } catch (error) {
      return `unreadable (${(error as NodeJS.ErrnoException).code})`;
    }
    return hash.digest('hex');
  }

  async #clearIncoming(): Promise<void> {
    const directory = join(this.#directory, 'incoming');
    for (const name of await readdir(directory)) {
      if (!alive(Number(name.split('-')[0]))) await rm(join(directory, name), { force: true });
    }
  }
}

/** Is a file of this process id still being written? Several processes may share the directory. */
function alive(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
