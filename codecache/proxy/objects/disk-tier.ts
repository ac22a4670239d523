import { createHash, randomBytes } from 'node:crypto';
import { rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../../../lib/clock.ts';
import { ensureDirectory, syncDirectory } from '../../../lib/files.ts';
import type { Logger } from '../../../lib/log.ts';
import { BufferPool } from './buffer-pool.ts';
import { DiskHealth } from './disk-health.ts';
import type { DiskKeeper } from './disk-keeper.ts';
import { IncomingFile } from './incoming-file.ts';
import { incomingDirectory, objectPath } from './object-place.ts';
import { OpenObjects } from './open-objects.ts';
import type { OpenObject } from './open-objects.ts';

export interface DiskStats {
  /** What the system reported when it was asked to read or write. */
  failures: number;
  /** 1 while objects are kept in memory only, because the disk failed. */
  degraded: 0 | 1;
}

/** How often the keeper is told that an object is in use. */
const TELL_USE_MS = 60_000;
const MAX_REMEMBERED = 65_536;
/** What is written or hashed at a time. */
const STEP_BYTES = 1 << 20;

/**
 * Hash-named objects on disk, `DIR/objects/<2 hex>/<sha256>`: one copy whatever upstream or path it came by, shared by
 * the processes of a cache. What is there is what the file system says. A file gets its name after all of it is on disk,
 * and is hashed once by each process before its first use. No failure of the disk reaches a client.
 */
export class DiskTier {
  readonly pool = new BufferPool();
  readonly #directory: string;
  readonly #keeper: DiskKeeper;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #health: DiskHealth;
  readonly #files: OpenObjects;
  /** Identity of each file that this process has hashed. */
  readonly #verified = new LRUCache<string, string>({ max: MAX_REMEMBERED });
  readonly #toldMs = new LRUCache<string, number>({ max: MAX_REMEMBERED });

  constructor(options: { directory: string; keeper: DiskKeeper; clock: Clock; log: Logger }) {
    this.#directory = options.directory;
    this.#keeper = options.keeper;
    this.#log = options.log;
    this.#clock = options.clock;
    this.#health = new DiskHealth({ clock: options.clock, log: options.log, where: options.directory });
    this.#files = new OpenObjects(this.pool);
  }

  /** Opens an object, not yet verified; the caller releases it. Undefined when it is not here or cannot be opened. */
  async open(sha256: string): Promise<OpenObject | undefined> {
    try {
      return await this.#files.open(this.#path(sha256));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.#unreadable(sha256, error);
      return undefined;
    }
  }

  /** Reads all of an open object, hashing it. Undefined when it is damaged, and then removed, or cannot be read. */
  async load(sha256: string, file: OpenObject): Promise<Buffer | undefined> {
    const body = Buffer.allocUnsafeSlow(file.bytes);
    let filled = 0;
    const fits = await this.#hash(sha256, file, bytes => {
      bytes.copy(body, filled);
      filled += bytes.length;
    });
    return fits ? body : undefined;
  }

  /** Hashes an open object if this process has not done so yet. False when it is damaged or cannot be read. */
  async verify(sha256: string, file: OpenObject): Promise<boolean> {
    return this.#verified.get(sha256) === file.identity || this.#hash(sha256, file, () => undefined);
  }

  /** An object is in use, here or in memory. */
  used(sha256: string): void {
    const now = this.#clock.now();
    if (now - (this.#toldMs.get(sha256) ?? 0) < TELL_USE_MS) return;
    this.#toldMs.set(sha256, now);
    this.#keeper.used(sha256);
  }

  /** A file to receive an object of so many bytes into, if that is known. Undefined when the disk cannot take it now. */
  async incoming(bytes = 0): Promise<IncomingFile | undefined> {
    if (!this.#health.usable()) return undefined;
    try {
      if (this.#health.degraded) await ensureDirectory(incomingDirectory(this.#directory));
      if (!(await this.#room(bytes))) return undefined;
      const name = `${process.pid}-${randomBytes(8).toString('hex')}`;
      return await IncomingFile.create(join(incomingDirectory(this.#directory), name), this.pool);
    } catch (error) {
      this.#health.failed(error);
      return undefined;
    }
  }

  /** Appends to a file; a full disk is given room once. @throws what the system says, after noting it. */
  async append(file: IncomingFile, bytes: Buffer): Promise<void> {
    const before = file.written;
    try {
      await file.append(bytes);
    } catch (error) {
      try {
        if (!isFull(error) || (await this.#keeper.makeRoom(bytes.length)) === 0) throw error;
        await file.append(bytes.subarray(file.written - before));
      } catch (final) {
        this.#health.failed(final);
        throw final;
      }
    }
  }

  /** Puts a received and verified file in its place; when that fails the object is simply not kept. */
  async commit(file: IncomingFile, sha256: string): Promise<void> {
    const path = this.#path(sha256);
    try {
      await file.finish(this.#clock.now());
      await ensureDirectory(dirname(path));
      await replace(file.path, path);
      await syncDirectory(dirname(path));
    } catch (error) {
      this.#health.failed(error);
      return file.remove();
    }
    this.#health.worked();
    this.#files.forget(path);
    this.#keeper.kept(sha256, file.written);
  }

  /** Writes a verified body to its place, unless another process has done so; failures as with {@link commit}. */
  async put(sha256: string, body: Buffer): Promise<void> {
    const there = await stat(this.#path(sha256)).catch(() => undefined);
    if (there?.size === body.length) return;
    const file = await this.incoming(body.length);
    if (file === undefined) return;
    try {
      for (let at = 0; at < body.length; at += STEP_BYTES)
        await this.append(file, body.subarray(at, at + STEP_BYTES));
      await this.commit(file, sha256);
    } catch {
      // append has noted it
      await file.remove();
    } finally {
      await file.close();
    }
  }

  /** Purged or found damaged: what lies there from now on is looked at anew. */
  forget(sha256: string): void {
    this.#verified.delete(sha256);
    this.#files.forget(this.#path(sha256));
  }

  forgetAll(): void {
    this.#verified.clear();
    this.#files.close();
  }

  stats(): DiskStats {
    return { failures: this.#health.failures, degraded: this.#health.degraded ? 1 : 0 };
  }

  close(): void {
    this.#files.close();
  }

  async #hash(sha256: string, file: OpenObject, onBytes: (bytes: Buffer) => void): Promise<boolean> {
    const hash = createHash('sha256');
    try {
      for (let at = 0; at < file.bytes;) {
        const { bytes, free } = await file.read(at, file.bytes - 1);
        hash.update(bytes);
        onBytes(bytes);
        at += bytes.length;
        const ended = bytes.length === 0;
        free();
        if (ended) break;
      }
    } catch (error) {
      this.#unreadable(sha256, error);
      return false;
    }
    const found = hash.digest('hex');
    if (found === sha256) {
      this.#verified.set(sha256, file.identity);
      return true;
    }
    this.#log.error({ sha256, found }, 'a kept object is damaged and was removed');
    this.forget(sha256);
    await rm(this.#path(sha256), { force: true }).catch((error: unknown) => this.#unreadable(sha256, error));
    this.#keeper.lost(sha256);
    return false;
  }

  /** Makes room for so many bytes more. False when this disk is too small for them. @throws ENOSPC when it is full. */
  async #room(bytes: number): Promise<boolean> {
    const { blocks, bavail, bsize } = await statfs(this.#directory);
    if (bytes > blocks * bsize) return false;
    const missing = bytes - bavail * bsize;
    if (missing <= 0 || (await this.#keeper.makeRoom(missing)) >= missing) return true;
    throw Object.assign(new Error(`no room for ${bytes} bytes`), { code: 'ENOSPC' });
  }

  #unreadable(sha256: string, error: unknown): void {
    this.#health.counted();
    this.#log.warn({ sha256, err: error }, 'a kept object cannot be read');
  }

  #path(sha256: string): string {
    return objectPath(this.#directory, sha256);
  }
}

/** Renames a file over whatever lies there, also what is no file and never was ours. */
async function replace(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!['EISDIR', 'ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    await rm(to, { recursive: true });
    await rename(from, to);
  }
}

const isFull = (error: unknown): boolean =>
  ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '');
