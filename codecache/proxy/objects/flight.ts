import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { fromSystemError } from '../../../lib/errors.ts';
import type { BodySource } from './body-source.ts';
import { codecacheError } from '../../errors.ts';

/** Objects up to this size are verified whole before their first byte is given out: a forgery costs no client anything. */
export const WHOLE_FIRST_BYTES = 4 << 20;
/** Of larger ones this much is held back until the hash fits. */
const HELD_BACK_BYTES = 1 << 16;

type State = 'running' | 'verified' | 'failed';

/**
 * One object on its way from one upstream into a file, read by any number of clients while it grows. Nobody gets the
 * last bytes before the hash of all of them fits, so a forged body is never served whole.
 */
export class Flight {
  readonly #file: FileHandle;
  readonly #path: string;
  /** As the upstream announced it; undefined without Content-Length. */
  readonly length: number | undefined;
  readonly startedMs: number;
  #written = 0;
  #state: State = 'running';
  #failure: unknown;
  #users = 1;
  #progress = Promise.withResolvers<void>();

  constructor(options: { file: FileHandle; path: string; length: number | undefined; startedMs: number }) {
    this.#file = options.file;
    this.#path = options.path;
    this.length = options.length;
    this.startedMs = options.startedMs;
  }

  /** May a client begin to read before the whole is here? */
  get streamable(): boolean {
    return this.#state === 'running' && this.length !== undefined && this.length > WHOLE_FIRST_BYTES;
  }

  get written(): number {
    return this.#written;
  }

  get file(): FileHandle {
    return this.#file;
  }

  get path(): string {
    return this.#path;
  }

  /**
   * Writes the body to the file while hashing it.
   *
   * @returns the sha256 of what arrived. @throws what the body throws; E_UPSTREAM_FORGED over `maxBytes`.
   */
  async receive(body: AsyncIterable<Buffer>, maxBytes: number): Promise<string> {
    const hash = createHash('sha256');
    for await (const chunk of body) {
      if (this.#written + chunk.length > maxBytes) {
        throw codecacheError({
          code: 'E_UPSTREAM_FORGED',
          message: 'The object is larger than any object may be.',
          expected: `at most ${maxBytes} bytes`,
          found: 'more',
        });
      }
      hash.update(chunk);
      await this.#write(chunk);
      this.#wake();
    }
    return hash.digest('hex');
  }

  verified(): void {
    this.#state = 'verified';
    this.#wake();
  }

  /** Ends the flight; readers that already have bytes are cut off. */
  async failed(reason: unknown): Promise<void> {
    this.#failure = reason;
    this.#state = 'failed';
    this.#wake();
    await rm(this.#path, { force: true });
  }

  /** A reader of the growing file; `release` it. */
  source(): BodySource {
    this.#users += 1;
    let open = true;
    return {
      bytes: this.#state === 'verified' ? this.#written : this.length!,
      storedMs: this.startedMs,
      read: (buffer, position) => this.#read(buffer, position),
      release: async () => {
        if (open) await this.release();
        open = false;
      },
    };
  }

  /** The receiver, too, is a user of the file. */
  async release(): Promise<void> {
    this.#users -= 1;
    if (this.#users === 0) await this.#file.close();
  }

  async #write(chunk: Buffer): Promise<void> {
    const at = this.#written;
    let offset = 0;
    try {
      while (offset < chunk.length) {
        offset += (await this.#file.write(chunk, offset, chunk.length - offset, at + offset)).bytesWritten;
      }
    } catch (error) {
      throw fromSystemError(error, this.#path);
    }
    this.#written = at + chunk.length;
  }

  async #read(buffer: Buffer, position: number): Promise<number> {
    for (;;) {
      if (this.#state === 'failed') throw this.#failure;
      const free =
        this.#state === 'verified' ? this.#written : Math.min(this.#written, this.length! - HELD_BACK_BYTES);
      if (position < free) {
        const { bytesRead } = await this.#file.read(
          buffer,
          0,
          Math.min(buffer.length, free - position),
          position,
        );
        return bytesRead;
      }
      if (this.#state === 'verified') return 0;
      await this.#progress.promise;
    }
  }

  #wake(): void {
    const { resolve } = this.#progress;
    this.#progress = Promise.withResolvers<void>();
    resolve();
  }
}
