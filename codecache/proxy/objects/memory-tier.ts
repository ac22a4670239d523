import { LRUCache } from 'lru-cache';
import { openBodyFiles } from './body-file.ts';
import type { BodyFile } from './body-file.ts';
import type { HeldBody } from './body-source.ts';

/** A verified object whose body is in memory. */
export interface HeldObject extends HeldBody {
  readonly sha256: string;
  /** Epoch milliseconds at which this cache got it. */
  readonly storedMs: number;
}

export interface MemoryStats {
  objects: number;
  bytes: number;
  /** Answers given from here by the slow path; those of the raw socket are counted where they are sent. */
  hits: number;
  /** Let go to make room. */
  evicted: number;
}

/** What the index takes besides the body, roughly: many tiny objects are bounded too. */
const ENTRY_BYTES = 512;
/** From here on a body is kept as a file too, which takes its room twice; far fewer files than descriptors. */
const FILE_BYTES = 1 << 18;

const toFile = openBodyFiles();

/**
 * Verified bodies in the memory of this process, least recently used out first by bytes. The bodies are given out
 * without copying: whoever still sends one keeps its bytes, but nobody new gets it once it is out. While as much as the
 * whole tier lingers so, because slow clients read it, no further body is held.
 */
export class MemoryTier {
  /** Of all bodies; 0 switches the tier off. */
  readonly maxBytes: number;
  /** Larger objects are not held. */
  readonly maxObjectBytes: number;
  readonly #held: LRUCache<string, Held> | undefined;
  readonly #onUse: (sha256: string) => void;
  readonly #lingering = new FinalizationRegistry<number>(bytes => (this.#lingeringBytes -= bytes));
  #lingeringBytes = 0;
  #bodyBytes = 0;
  #hits = 0;
  #evicted = 0;

  /**
   * @param options.maxObjectBytes by default half of `maxBytes`.
   * @param options.onUse is told of each use, so that the other tiers keep what is served from here.
   */
  constructor(options: { maxBytes: number; maxObjectBytes?: number; onUse?: (sha256: string) => void }) {
    const { maxBytes, maxObjectBytes = Math.floor(maxBytes / 2), onUse = () => undefined } = options;
    this.maxBytes = maxBytes;
    this.maxObjectBytes = Math.min(maxBytes, maxObjectBytes);
    this.#onUse = onUse;
    if (maxBytes === 0) return;
    this.#held = new LRUCache<string, Held>({
      maxSize: maxBytes + ENTRY_BYTES,
      sizeCalculation: ({ room }) => room,
      dispose: (held, _sha256, reason) => {
        held.drop();
        this.#bodyBytes -= held.body.length;
        this.#linger(held.body);
        if (reason === 'evict') this.#evicted += 1;
      },
    });
  }

  get(sha256: string): HeldObject | undefined {
    const held = this.#held?.get(sha256);
    if (held === undefined) return undefined;
    this.#hits += 1;
    this.#onUse(sha256);
    return held;
  }

  /** Whether a body of so many bytes would be held now. */
  takes(bytes: number): boolean {
    return bytes <= this.maxObjectBytes && this.#lingeringBytes <= this.maxBytes;
  }

  /** @param body verified by the caller; it must not change any more. @returns undefined when there is no room. */
  put(sha256: string, body: Buffer, storedMs: number): HeldObject | undefined {
    if (this.#held === undefined || !this.takes(body.length)) return undefined;
    const twice = toFile !== undefined && body.length >= FILE_BYTES && 2 * body.length <= this.maxBytes;
    const held = new Held(sha256, body, storedMs, twice, () => this.#touch(sha256));
    this.#bodyBytes += body.length;
    this.#held.set(sha256, held);
    return held;
  }

  /** Purged, or found damaged elsewhere: not one more answer is made from it. */
  forget(sha256: string): void {
    this.#held?.delete(sha256);
  }

  /** Not one more answer is made from any of them. */
  clear(): void {
    this.#held?.clear();
  }

  stats(): MemoryStats {
    return {
      objects: this.#held?.size ?? 0,
      bytes: this.#bodyBytes,
      hits: this.#hits,
      evicted: this.#evicted,
    };
  }

  /** Counts a body that was let go for as long as its memory is in use. Short ones share theirs, and do not matter. */
  #linger({ buffer, length }: Buffer): void {
    if (buffer.byteLength !== length) return;
    this.#lingeringBytes += length;
    this.#lingering.register(buffer, length);
  }

  #touch(sha256: string): void {
    if (this.#held?.get(sha256) !== undefined) this.#onUse(sha256);
  }
}

class Held implements HeldObject {
  readonly sha256: string;
  readonly body: Buffer;
  readonly storedMs: number;
  readonly touch: () => void;
  /** Bytes of memory that it may take. */
  readonly room: number;
  readonly #twice: boolean;
  #file: BodyFile | undefined;
  #here = true;

  constructor(sha256: string, body: Buffer, storedMs: number, twice: boolean, touch: () => void) {
    this.sha256 = sha256;
    this.body = body;
    this.storedMs = storedMs;
    this.touch = touch;
    this.#twice = twice;
    this.room = ENTRY_BYTES + body.length * (twice ? 2 : 1);
  }

  get file(): BodyFile | undefined {
    if (this.#here && this.#twice) this.#file ??= toFile?.(this.body);
    return this.#file;
  }

  valid(): boolean {
    return this.#here;
  }

  drop(): void {
    this.#here = false;
    this.#file?.release();
    this.#file = undefined;
  }
}
