import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

const CHUNK_BYTES = 1 << 20;

/** Counts the lines that a server adds to its access log. */
export class LogLines {
  readonly #file: string;
  #position = 0;
  #lines = 0;

  constructor(file: string) {
    this.#file = file;
  }

  /** Lines since the beginning. */
  async count(): Promise<number> {
    const file = await open(this.#file);
    try {
      const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
      for (;;) {
        const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, this.#position);
        if (bytesRead === 0) return this.#lines;
        this.#position += bytesRead;
        for (let at = buffer.indexOf(10); at >= 0 && at < bytesRead; at = buffer.indexOf(10, at + 1))
          this.#lines += 1;
      }
    } finally {
      await file.close();
    }
  }

  /**
   * Waits until there are so many lines; servers write them in batches.
   *
   * @throws Error saying how many there are when they do not come.
   */
  async reach(lines: number, waitMs = 10_000): Promise<number> {
    const deadline = performance.now() + waitMs;
    for (;;) {
      const found = await this.count();
      if (found >= lines) return found;
      if (performance.now() > deadline)
        throw new Error(`the access log has ${found} lines where at least ${lines} are expected`);
      await sleep(50);
    }
  }
}
