import { createHash } from 'node:crypto';
import { codecacheError } from '../../errors.ts';
import type { Upstream } from '../upstreams/upstream.ts';
import { FileBody } from './body-room.ts';
import type { BodyRoom, GrowingBody } from './body-room.ts';
import { NO_BYTES } from './body-source.ts';
import type { Piece } from './body-source.ts';
import type { HeldObject } from './memory-tier.ts';
import type { Progress } from './progress.ts';

/** Objects up to this size are verified whole before their first byte is given out: a forgery costs no client anything. */
export const WHOLE_FIRST_BYTES = 4 << 20;
/**
 * Of larger ones so many of the last bytes of each answer are held back until the hash fits, of an answer for a range as
 * of one for the whole: whoever is behind a forger sees a short body, never a complete one with a wrong byte.
 */
export const HELD_BACK_BYTES = 1 << 16;
/** Readers are woken for so many bytes, or for fewer after a moment: a write per packet and reader would cost too much. */
const WAKE_BYTES = 1 << 18;
const WAKE_MS = 20;
/** What a reader is given at a time. */
const PIECE_BYTES = 1 << 18;

/** Which bytes an answer will carry, first and last, when the object has so many; undefined: none. */
export type Needs = (bytes: number) => { start: number; end: number } | undefined;

/** One object on its way from one upstream, read by any number of clients while it grows. */
export class Flight {
  readonly from: Upstream;
  /** As the upstream announced it; undefined without Content-Length. */
  readonly length: number | undefined;
  readonly startedMs: number;
  readonly #room: BodyRoom;
  readonly #progress: Progress;
  #body: GrowingBody;
  /** A file that the disk takes no more bytes for; somebody may still be reading it. */
  #abandoned: FileBody | undefined;
  #outcome: 'verified' | { failure: unknown } | undefined;
  #held: HeldObject | undefined;
  #users = 1;
  #woken = 0;
  #wakeSoon: NodeJS.Timeout | undefined;

  constructor(options: {
    from: Upstream;
    length: number | undefined;
    startedMs: number;
    body: GrowingBody;
    room: BodyRoom;
    progress: Progress;
  }) {
    this.from = options.from;
    this.length = options.length;
    this.startedMs = options.startedMs;
    this.#body = options.body;
    this.#room = options.room;
    this.#progress = options.progress;
  }

  get written(): number {
    return this.#body.written;
  }

  get body(): GrowingBody {
    return this.#body;
  }

  get verified(): boolean {
    return this.#outcome === 'verified';
  }

  /** The whole body, once it is verified and the memory tier has it. */
  get held(): HeldObject | undefined {
    return this.#held;
  }

  /** Can an answer of these bytes begin? */
  ready(needs: Needs): boolean {
    if (this.#outcome !== undefined) return this.verified;
    if (this.length === undefined) return false;
    const part = needs(this.length);
    return part === undefined || this.#free(part.end) > part.start;
  }

  /**
   * Takes the body in while hashing it.
   *
   * @returns the sha256 of what arrived. @throws what the body throws; NoRoomError when it can be held no longer;
   *   E_UPSTREAM_FORGED over `maxBytes`.
   */
  async receive(body: AsyncIterable<Buffer>, maxBytes: number): Promise<string> {
    const hash = createHash('sha256');
    for await (const chunk of body) {
      if (this.written + chunk.length > maxBytes) throw tooLarge(maxBytes);
      hash.update(chunk);
      await this.#append(chunk);
      this.#advanced();
    }
    return hash.digest('hex');
  }

  /** All of it is here and is what its name says. @param held where the memory tier has it. */
  verify(held: HeldObject | undefined): void {
    this.#end('verified');
    this.#held = held;
  }

  /** Ends the flight; readers that already have bytes are cut off, nobody gets one more. */
  async fail(failure: unknown): Promise<void> {
    this.#end({ failure });
    if (this.#body.kind === 'file') await this.#body.file.remove();
    await this.release();
  }

  /**
   * Reads for an answer that ends with the byte at `end`, as long as that is `wanted`. @throws what the flight failed
   * with.
   */
  async read(position: number, end: number, wanted: () => boolean): Promise<Piece> {
    while (wanted()) {
      if (typeof this.#outcome === 'object') throw this.#outcome.failure;
      const free = Math.min(this.#free(end), position + PIECE_BYTES);
      if (position < free || this.verified) return this.#readNow(position, Math.min(free - 1, end));
      await this.#progress.next;
    }
    return NO_BYTES;
  }

  /** Whoever reads holds the flight; so does, from the beginning, whoever receives it. */
  hold(): void {
    this.#users += 1;
  }

  async release(): Promise<void> {
    this.#users -= 1;
    if (this.#users > 0) return;
    await this.#body.close();
    await this.#abandoned?.close();
  }

  /** The first position that may not be given out yet. */
  #free(end: number): number {
    if (this.#outcome !== undefined) return this.verified ? this.written : 0;
    if (this.length === undefined || this.length <= WHOLE_FIRST_BYTES) return 0;
    return Math.min(this.written, end + 1 - HELD_BACK_BYTES);
  }

  /** A file stays open until it is read, whoever leaves meanwhile. */
  async #readNow(position: number, end: number): Promise<Piece> {
    this.hold();
    try {
      return await this.#body.read(position, end);
    } finally {
      await this.release();
    }
  }

  async #append(chunk: Buffer): Promise<void> {
    const before = this.written;
    const body = this.#body;
    if (!(body instanceof FileBody)) return body.append(chunk);
    try {
      await body.append(chunk);
    } catch {
      // The disk is noted as failed by then.
      const rescued = await this.#room.rescue(body, this.length);
      await rescued.append(chunk.subarray(rescued.written - before));
      this.#body = rescued;
      this.#abandoned = body;
      await body.file.remove();
    }
  }

  #advanced(): void {
    if (this.written - this.#woken >= WAKE_BYTES) this.#wake();
    else this.#wakeSoon ??= setTimeout(() => this.#wake(), WAKE_MS);
  }

  #end(outcome: 'verified' | { failure: unknown }): void {
    this.#outcome = outcome;
    this.#wake();
  }

  #wake(): void {
    clearTimeout(this.#wakeSoon);
    this.#wakeSoon = undefined;
    this.#woken = this.written;
    this.#progress.wake();
  }
}

const tooLarge = (maxBytes: number) =>
  codecacheError({
    code: 'E_UPSTREAM_FORGED',
    message: 'The object is larger than any object may be.',
    expected: `at most ${maxBytes} bytes`,
    found: 'more',
  });
