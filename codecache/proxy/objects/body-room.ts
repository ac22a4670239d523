import { pieceOf } from './body-source.ts';
import type { Piece } from './body-source.ts';
import { ByteBudget } from './byte-budget.ts';
import type { DiskTier } from './disk-tier.ts';
import type { IncomingFile } from './incoming-file.ts';

/** A body under way: it grows at its end and is read anywhere before that. */
export type GrowingBody = MemoryBody | FileBody;

/** Neither memory nor disk can hold the body that is under way. */
export class NoRoomError extends Error {
  constructor(cause?: unknown) {
    super('neither memory nor disk can hold this object now', { cause });
  }
}

/** A body under way in memory; readers get its bytes without copying. */
export class MemoryBody {
  readonly kind = 'memory';
  readonly #capacity: Buffer;
  readonly #budget: ByteBudget;
  #filled = 0;
  #open = true;

  /** @param capacity taken from the budget by the caller. */
  constructor(capacity: number, budget: ByteBudget) {
    this.#capacity = Buffer.allocUnsafeSlow(capacity);
    this.#budget = budget;
  }

  get written(): number {
    return this.#filled;
  }

  /** @throws NoRoomError when it was not known how large the body would get. */
  append(bytes: Buffer): Promise<void> | undefined {
    if (this.#filled + bytes.length > this.#capacity.length) throw new NoRoomError();
    bytes.copy(this.#capacity, this.#filled);
    this.#filled += bytes.length;
    return undefined;
  }

  read(position: number, end: number): Promise<Piece> {
    return Promise.resolve(pieceOf(this.#capacity.subarray(position, Math.min(end + 1, this.#filled))));
  }

  /** All that has arrived, holding no more memory than that. */
  body(): Buffer {
    const all = this.#capacity.subarray(0, this.#filled);
    return this.#filled === this.#capacity.length ? all : Buffer.from(all);
  }

  /** Gives its share of the budget back: the body is held elsewhere from now on, or nowhere. */
  close(): Promise<void> {
    if (this.#open) this.#budget.give(this.#capacity.length);
    this.#open = false;
    return Promise.resolve();
  }
}

/** A body under way in a file, for what is too large for memory. */
export class FileBody {
  readonly kind = 'file';
  readonly file: IncomingFile;
  readonly #disk: DiskTier;

  constructor(file: IncomingFile, disk: DiskTier) {
    this.file = file;
    this.#disk = disk;
  }

  get written(): number {
    return this.file.written;
  }

  append(bytes: Buffer): Promise<void> {
    return this.#disk.append(this.file, bytes);
  }

  read(position: number, end: number): Promise<Piece> {
    return this.file.read(position, end);
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

/** Where bodies under way are held: in memory within a budget that all of them share, else in files. */
export class BodyRoom {
  readonly #budget: ByteBudget;
  readonly #maxObjectBytes: number;
  readonly #disk: DiskTier;

  /** @param options.maxBytes of memory for all bodies under way. @param options.maxObjectBytes for one of them. */
  constructor(options: { maxBytes: number; maxObjectBytes: number; disk: DiskTier }) {
    this.#budget = new ByteBudget(options.maxBytes);
    this.#maxObjectBytes = options.maxObjectBytes;
    this.#disk = options.disk;
  }

  /** Bytes of memory that bodies under way have taken. */
  get used(): number {
    return this.#budget.used;
  }

  /** @param length as announced, if it was. @throws NoRoomError. */
  async open(length: number | undefined): Promise<GrowingBody> {
    // A body of unknown length would take all the memory it may become, so the file comes first.
    const first = length === undefined ? undefined : this.#inMemory(length);
    if (first !== undefined) return first;
    const file = await this.#disk.incoming(length);
    if (file !== undefined) return new FileBody(file, this.#disk);
    const last = length === undefined ? this.#inMemory(this.#most) : undefined;
    if (last === undefined) throw new NoRoomError();
    return last;
  }

  /** Goes on in memory with a body whose file cannot be written any more. @throws NoRoomError. */
  async rescue({ file }: FileBody, length: number | undefined): Promise<MemoryBody> {
    const body = this.#inMemory(length ?? this.#most);
    if (body === undefined) throw new NoRoomError();
    try {
      while (body.written < file.written) {
        const { bytes, free } = await file.read(body.written, file.written - 1);
        if (bytes.length === 0) throw new NoRoomError();
        void body.append(bytes);
        free();
      }
      return body;
    } catch (error) {
      await body.close();
      throw error instanceof NoRoomError ? error : new NoRoomError(error);
    }
  }

  /** Memory for so many bytes that are needed for a moment; give it back with {@link give}. */
  take(bytes: number): boolean {
    return bytes <= this.#maxObjectBytes && this.#budget.take(bytes);
  }

  give(bytes: number): void {
    this.#budget.give(bytes);
  }

  get #most(): number {
    return Math.min(this.#maxObjectBytes, this.#budget.free);
  }

  #inMemory(bytes: number): MemoryBody | undefined {
    return this.take(bytes) ? new MemoryBody(bytes, this.#budget) : undefined;
  }
}
