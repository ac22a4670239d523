import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

const TAIL_BYTES = 8192;
/** Room for the line that says what was cut, so that with it nothing exceeds the limit either. */
const MARK_BYTES = 128;

/**
 * One output stream of a payload, kept in a file of bounded size: the first half as it came, the second half as a
 * ring that always holds the newest bytes. Whatever is written beyond is counted and let go, so that a payload that
 * floods its log is never stopped by it and never fills the disk.
 */
export class BoundedLog {
  readonly #file: FileHandle;
  readonly #limitBytes: number;
  readonly #maxBytes: number;
  readonly #headBytes: number;
  #totalBytes = 0;
  #tail: Buffer = Buffer.alloc(0);
  #failure: string | undefined;
  #closed = false;

  private constructor(file: FileHandle, limitBytes: number) {
    this.#file = file;
    this.#limitBytes = limitBytes;
    this.#maxBytes = limitBytes - MARK_BYTES;
    this.#headBytes = Math.ceil(this.#maxBytes / 2);
  }

  /** Creates the file (0600) at `path`. @param limitBytes what is kept at most, at least 1024. */
  static async create(path: string, limitBytes: number): Promise<BoundedLog> {
    return new BoundedLog(await open(path, 'wx+', 0o600), Math.max(1024, limitBytes));
  }

  /** Bytes ever written to the stream. */
  get totalBytes(): number {
    return this.#totalBytes;
  }

  /** Bytes that were let go from the middle. */
  get cutBytes(): number {
    return Math.max(0, this.#totalBytes - this.#maxBytes);
  }

  /** Why bytes could not be kept (a full disk), if that happened. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Never rejects: a log that cannot be kept is drained all the same. */
  async write(chunk: Buffer): Promise<void> {
    this.#tail =
      chunk.length >= TAIL_BYTES
        ? Buffer.from(chunk.subarray(chunk.length - TAIL_BYTES))
        : Buffer.concat([this.#tail, chunk]).subarray(-TAIL_BYTES);
    const ringBytes = this.#maxBytes - this.#headBytes;
    let rest = chunk;
    try {
      while (rest.length > 0) {
        const position = this.#totalBytes;
        const inHead = position < this.#headBytes;
        const offset = inHead ? position : this.#headBytes + ((position - this.#headBytes) % ringBytes);
        const room = (inHead ? this.#headBytes : this.#maxBytes) - offset;
        const part = rest.subarray(0, room);
        this.#totalBytes += part.length;
        rest = rest.subarray(part.length);
        if (!inHead && rest.length >= ringBytes) continue;
        await this.#writeAt(part, offset);
      }
    } catch (error) {
      this.#totalBytes += rest.length;
      this.#failure = (error as Error).message;
    }
  }

  async #writeAt(part: Buffer, offset: number): Promise<void> {
    for (let done = 0; done < part.length;) {
      const { bytesWritten } = await this.#file.write(part, done, part.length - done, offset + done);
      done += bytesWritten;
    }
  }

  /** The newest 8 KiB as text; bytes that are not UTF-8, and NUL, become U+FFFD. */
  tail(): string {
    let start = 0;
    if (this.#totalBytes > this.#tail.length) {
      while (start < 4 && (this.#tail[start]! & 0xc0) === 0x80) start += 1;
    }
    return this.#tail.subarray(start).toString('utf8').replaceAll('\0', '\uFFFD');
  }

  /** What was kept, in order, with one line that says what was cut; in chunks of at most `chunkBytes`. */
  async *kept(chunkBytes = 256 * 1024): AsyncGenerator<Buffer> {
    if (this.cutBytes === 0) {
      yield* this.#range(0, this.#totalBytes, chunkBytes);
      return;
    }
    const ringBytes = this.#maxBytes - this.#headBytes;
    const seam = this.#headBytes + ((this.#totalBytes - this.#headBytes) % ringBytes);
    yield* this.#range(0, this.#headBytes, chunkBytes);
    yield Buffer.from(
      `\n[pilotage: ${this.cutBytes} of ${this.#totalBytes} bytes cut here; limits.logBytes is ${this.#limitBytes}]\n`,
    );
    yield* this.#range(seam, this.#maxBytes, chunkBytes);
    yield* this.#range(this.#headBytes, seam, chunkBytes);
  }

  async *#range(from: number, to: number, chunkBytes: number): AsyncGenerator<Buffer> {
    for (let offset = from; offset < to;) {
      const buffer = Buffer.alloc(Math.min(chunkBytes, to - offset));
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, offset);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
      offset += bytesRead;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#file.close();
  }
}
