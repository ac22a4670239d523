import type { FileHandle } from 'node:fs/promises';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';

/** A verified body that a memory tier holds. */
export interface HeldBody {
  readonly body: Buffer;
  /** False once it was evicted or purged. */
  valid(): boolean;
  /** It is in use: keep it over others. */
  touch(): void;
}

/** Bytes that can be read by position, now or as they arrive. */
export interface BodySource {
  readonly bytes: number;
  readonly storedMs: number;
  /** Set when all of it is in memory: the tier that holds it, for {@link HotAnswer}. */
  readonly memory?: HeldBody;
  /** Reads at most `buffer.length` bytes; waits until at least one may be given out. @throws when they never will be. */
  read(buffer: Buffer, position: number): Promise<number>;
  release(): Promise<void>;
}

/** A verified object on disk. */
export const fileSource = (file: FileHandle, bytes: number, storedMs: number): BodySource => ({
  bytes,
  storedMs,
  read: async (buffer, position) => (await file.read(buffer, 0, buffer.length, position)).bytesRead,
  release: () => file.close(),
});

/** A verified object in memory. */
export const heldSource = (held: HeldBody & { storedMs: number }): BodySource => ({
  bytes: held.body.length,
  storedMs: held.storedMs,
  memory: held,
  read: (buffer, position) => Promise.resolve(held.body.copy(buffer, 0, position)),
  release: () => Promise.resolve(),
});

const CHUNK_BYTES = 1 << 18;

/**
 * Sends `start` to `end` (inclusive) of a source, one chunk in flight, no faster than the client reads. When the source
 * fails on the way the connection is cut, so that the client sees a short body and never a whole wrong one.
 */
export async function sendSource(
  response: ServerResponse,
  source: BodySource,
  start: number,
  end: number,
): Promise<number> {
  let position = start;
  while (position <= end && !response.destroyed) {
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - position + 1));
    let got: number;
    try {
      got = await source.read(buffer, position);
    } catch (error) {
      response.destroy();
      throw error;
    }
    if (got === 0) {
      response.destroy();
      throw new Error(`the stored object ends at byte ${position} of ${source.bytes}`);
    }
    // Whoever left meanwhile takes no more events: a wait for one would keep the source open for ever.
    if (response.destroyed) break;
    position += got;
    if (response.write(buffer.subarray(0, got))) continue;
    const closed = new AbortController();
    const stop = () => closed.abort();
    response.once('close', stop);
    await once(response, 'drain', { signal: closed.signal }).catch(() => undefined);
    response.off('close', stop);
  }
  if (!response.destroyed) response.end();
  return position - start;
}
