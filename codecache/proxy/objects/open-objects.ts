import { fstatSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import type { Piece } from './body-source.ts';
import type { BufferPool } from './buffer-pool.ts';
import { readLent } from './read-lent.ts';

/** A file stays open for this long after its last use, so that a much-read one is not opened for each answer. */
const IDLE_MS = 1000;

interface FileInfo {
  size: number;
  mtimeMs: number;
  ino: number;
}

const identityOf = ({ ino, size, mtimeMs }: FileInfo): string => `${ino} ${size} ${mtimeMs}`;

/** One file, open for as long as somebody reads it. */
export class OpenObject {
  readonly bytes: number;
  readonly storedMs: number;
  /** Tells the file itself, as it was when it was opened, from whatever lies under its name later or was written into it. */
  readonly identity: string;
  readonly #handle: FileHandle;
  readonly #pool: BufferPool;
  readonly #onIdle: () => void;
  #users = 0;
  #idle: NodeJS.Timeout | undefined;

  constructor(options: { handle: FileHandle; info: FileInfo; pool: BufferPool; onIdle: () => void }) {
    this.#handle = options.handle;
    this.bytes = options.info.size;
    this.storedMs = options.info.mtimeMs;
    this.identity = identityOf(options.info);
    this.#pool = options.pool;
    this.#onIdle = options.onIdle;
  }

  hold(): void {
    this.#users += 1;
    clearTimeout(this.#idle);
  }

  release(): void {
    this.#users -= 1;
    if (this.#users === 0) this.#idle = setTimeout(this.#onIdle, IDLE_MS).unref();
  }

  get busy(): boolean {
    return this.#users > 0;
  }

  /** Nobody has written into it since it was opened. Asks the system without waiting: what it is asked is in memory. */
  get unchanged(): boolean {
    return identityOf(fstatSync(this.#handle.fd)) === this.identity;
  }

  /** Reads into a lent buffer, at most up to the byte at `end`. */
  async read(position: number, end: number): Promise<Piece> {
    this.hold();
    try {
      return await readLent(this.#handle.fd, this.#pool, position, end);
    } finally {
      this.release();
    }
  }

  close(): Promise<void> {
    clearTimeout(this.#idle);
    return this.#handle.close();
  }
}

/** The files that are being read, each opened once for all readers. */
export class OpenObjects {
  readonly #pool: BufferPool;
  readonly #open = new Map<string, OpenObject>();

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /** @returns the file, held for the caller. @throws what the system says. */
  async open(path: string): Promise<OpenObject> {
    const known = this.#open.get(path);
    if (known?.unchanged === false) this.forget(path);
    const opened = this.#open.get(path) ?? (await this.#openNow(path));
    opened.hold();
    return opened;
  }

  /** Whoever reads the file goes on; the next one opens what lies there then. */
  forget(path: string): void {
    const known = this.#open.get(path);
    if (known === undefined) return;
    this.#open.delete(path);
    if (!known.busy) void known.close();
  }

  close(): void {
    for (const path of this.#open.keys()) this.forget(path);
  }

  async #openNow(path: string): Promise<OpenObject> {
    const handle = await open(path, 'r');
    const info = await handle.stat();
    const opened = new OpenObject({ handle, info, pool: this.#pool, onIdle: () => this.#idle(path, opened) });
    const other = this.#open.get(path);
    if (other === undefined) this.#open.set(path, opened);
    return opened;
  }

  #idle(path: string, opened: OpenObject): void {
    if (this.#open.get(path) === opened) this.#open.delete(path);
    void opened.close();
  }
}
