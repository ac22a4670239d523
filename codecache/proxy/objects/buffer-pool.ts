export interface LentBuffer {
  readonly buffer: Buffer;
  readonly free: () => void;
}

const LARGE_BYTES = 1 << 18;
const SMALL_BYTES = 1 << 14;
/** Large buffers that may be lent at a time. */
const MAX_LENT = 64;

/**
 * Buffers for reading files, lent again and again. So many slow clients that all large buffers are lent make the next
 * ones get small ones: it goes on with more calls, not with more memory.
 */
export class BufferPool {
  readonly #idle: Buffer[] = [];
  #lent = 0;

  take(): LentBuffer {
    if (this.#lent >= MAX_LENT) return { buffer: Buffer.allocUnsafeSlow(SMALL_BYTES), free: () => undefined };
    this.#lent += 1;
    const buffer = this.#idle.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
    let lent = true;
    return {
      buffer,
      free: () => {
        if (!lent) return;
        lent = false;
        this.#lent -= 1;
        this.#idle.push(buffer);
      },
    };
  }
}
