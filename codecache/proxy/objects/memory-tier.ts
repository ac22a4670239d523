import { LRUCache } from 'lru-cache';
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

/**
 * Verified bodies in the memory of this process, least recently used out first by bytes. The bodies are given out
 * without copying: whoever still sends one keeps its bytes, but nobody new gets it once it is out.
 */
export class MemoryTier {
  /** Of all bodies; 0 switches the tier off. */
  readonly maxBytes: number;
  /** Larger objects are not held. */
  readonly maxObjectBytes: number;
  readonly #held: LRUCache<string, Held> | undefined;
  readonly #onUse: (sha256: string) => void;
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
      sizeCalculation: ({ body }) => body.length + ENTRY_BYTES,
      dispose: (held, _sha256, reason) => {
        held.drop();
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

  /** @param body verified by the caller; it must not change any more. @returns undefined when it is too large. */
  put(sha256: string, body: Buffer, storedMs: number): HeldObject | undefined {
    if (this.#held === undefined || body.length > this.maxObjectBytes) return undefined;
    const held = new Held(sha256, body, storedMs, () => this.#touch(sha256));
    this.#held.set(sha256, held);
    return held;
  }

  /** Purged, or found damaged elsewhere: not one more answer is made from it. */
  forget(sha256: string): void {
    this.#held?.delete(sha256);
  }

  stats(): MemoryStats {
    const objects = this.#held?.size ?? 0;
    const bytes = (this.#held?.calculatedSize ?? 0) - objects * ENTRY_BYTES;
    return { objects, bytes, hits: this.#hits, evicted: this.#evicted };
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
  #here = true;

  constructor(sha256: string, body: Buffer, storedMs: number, touch: () => void) {
    this.sha256 = sha256;
    this.body = body;
    this.storedMs = storedMs;
    this.touch = touch;
  }

  valid(): boolean {
    return this.#here;
  }

  drop(): void {
    this.#here = false;
  }
}
