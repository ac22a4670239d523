import type { ServerResponse } from 'node:http';
import type { BodyFile } from './body-file.ts';

/** A verified body that a memory tier holds. */
export interface HeldBody {
  readonly body: Buffer;
  /** A large body once more, where the system can send it by itself; not once it is evicted or purged. */
  readonly file?: BodyFile | undefined;
  /** False once it was evicted or purged. */
  valid(): boolean;
  /** It is in use: keep it over others. */
  touch(): void;
}

/** Some bytes of a body, in memory that is lent until it is freed. */
export interface Piece {
  readonly bytes: Buffer;
  /** Nobody reads the bytes any more. */
  readonly free: () => void;
}

/** Bytes that can be read by position, now or as they arrive. */
export interface BodySource {
  readonly bytes: number;
  readonly storedMs: number;
  /** Set when all of it is in memory: the tier that holds it, for {@link HotAnswer}. */
  readonly memory?: HeldBody;
  /**
   * Reads from `position` on for an answer that ends with the byte at `end`; waits until at least one byte may be given
   * out. No byte once it is released. @throws when none ever will be.
   */
  read(position: number, end: number): Promise<Piece>;
  /** May be called again, and while something is being read. */
  release(): Promise<void>;
}

const noop = (): void => undefined;

/** What a released source gives. */
export const NO_BYTES: Piece = { bytes: Buffer.alloc(0), free: noop };

/** Bytes that are in memory anyway: given out without copying. */
export const pieceOf = (bytes: Buffer): Piece => ({ bytes, free: noop });

/** A verified object in memory. */
export const heldSource = (held: HeldBody & { storedMs: number }): BodySource => ({
  bytes: held.body.length,
  storedMs: held.storedMs,
  memory: held,
  read: (position, end) => Promise.resolve(pieceOf(held.body.subarray(position, end + 1))),
  release: () => Promise.resolve(),
});

/**
 * Sends `start` to `end` (inclusive) of a source, one piece in flight, no faster than the client reads. When the source
 * fails on the way the connection is cut, so that the client sees a short body and never a whole wrong one.
 *
 * @returns bytes sent. @throws what the source throws.
 */
export async function sendSource(
  response: ServerResponse,
  source: BodySource,
  start: number,
  end: number,
): Promise<number> {
  let position = start;
  // A reader that waits for bytes to arrive must not go on to be counted as one.
  const left = (): void => void source.release();
  response.once('close', left);
  while (position <= end && !response.destroyed) {
    let piece: Piece;
    try {
      piece = await source.read(position, end);
    } catch (error) {
      if (response.destroyed) break;
      response.destroy();
      throw error;
    }
    const { length } = piece.bytes;
    if (length === 0 && !response.destroyed) {
      response.destroy();
      throw new Error(`the stored object ends at byte ${position} of ${source.bytes}`);
    }
    if (!(await write(response, piece))) break;
    position += length;
  }
  response.off('close', left);
  if (!response.destroyed) response.end();
  return position - start;
}

/** @returns false when the client left. A closed socket reads no memory any more, so the piece is free either way. */
function write(response: ServerResponse, { bytes, free }: Piece): Promise<boolean> {
  return new Promise(resolve => {
    const done = (sent: boolean): void => {
      response.off('close', left);
      free();
      resolve(sent);
    };
    const left = (): void => done(false);
    // Whoever left meanwhile takes no more events: a wait for one would keep the source open for ever.
    if (response.destroyed) return left();
    response.once('close', left);
    response.write(bytes, error => done(!error));
  });
}
