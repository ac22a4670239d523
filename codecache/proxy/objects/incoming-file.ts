import { open, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import type { Piece } from './body-source.ts';
import type { BufferPool } from './buffer-pool.ts';
import { readLent } from './read-lent.ts';

/** A file that an object is received into; it is nothing to anyone until it is renamed to the object's place. */
export class IncomingFile {
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #pool: BufferPool;
  #written = 0;

  /** @throws what the system says. */
  static async create(path: string, pool: BufferPool): Promise<IncomingFile> {
    return new IncomingFile(path, await open(path, 'wx+', 0o644), pool);
  }

  private constructor(path: string, handle: FileHandle, pool: BufferPool) {
    this.path = path;
    this.#handle = handle;
    this.#pool = pool;
  }

  /** Bytes that are in the file for certain. */
  get written(): number {
    return this.#written;
  }

  /** Appends; after a failure it may be called again with what is not yet `written`. @throws what the system says. */
  async append(bytes: Buffer): Promise<void> {
    for (let offset = 0; offset < bytes.length;) {
      const { bytesWritten } = await this.#handle.write(bytes, offset, bytes.length - offset, this.#written);
      offset += bytesWritten;
      this.#written += bytesWritten;
    }
  }

  /** @throws what the system says. */
  read(position: number, end: number): Promise<Piece> {
    return readLent(this.#handle.fd, this.#pool, position, end);
  }

  /**
   * Brings all of it to disk. Its time is one of whole seconds, which stays the same to the bit when uses of the object
   * are noted. @throws what the system says: a disk may take bytes and fail only here.
   */
  async finish(storedMs: number): Promise<void> {
    await this.#handle.utimes(Date.now() / 1000, Math.floor(storedMs / 1000));
    await this.#handle.sync();
  }

  /** Removes its name; who still reads it can. */
  async remove(): Promise<void> {
    await rm(this.path, { force: true }).catch(() => undefined);
  }

  /** What is kept was brought to disk before, so a disk that fails now takes nothing from anybody. */
  async close(): Promise<void> {
    await this.#handle.close().catch(() => undefined);
  }
}
