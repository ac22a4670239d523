import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import type { Clock } from '../lib/clock.ts';
import type { PilotageError } from '../lib/errors.ts';
import type { Logger } from '../lib/log.ts';

/** A part of a transfer that may go better the next time: a transport error, a server that is busy. */
export class TransientTransferError extends Error {
  readonly retryAfterSeconds: number | undefined;
  constructor(message: string, options: { cause?: unknown; retryAfterSeconds?: number | undefined } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

const TRIES = 4;

/**
 * Repeats a transfer after transport errors, up to four times in all, with a wait that doubles from 300 ms.
 *
 * @throws whatever else `run` throws, at once; the last transport error, made into the step's own by `giveUp`.
 */
export async function retryTransfer<T>(
  run: () => Promise<T>,
  options: {
    clock: Clock;
    log: Logger;
    name: string;
    signal: AbortSignal;
    giveUp: (error: Error) => PilotageError;
  },
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    options.signal.throwIfAborted();
    try {
      return await run();
    } catch (error) {
      options.signal.throwIfAborted();
      if (!(error instanceof TransientTransferError)) throw error;
      if (attempt >= TRIES) throw options.giveUp(error);
      const waitMs = Math.min(
        Math.max(300 * 2 ** (attempt - 1), (error.retryAfterSeconds ?? 0) * 1000),
        30_000,
      );
      options.log.warn({ name: options.name, attempt, waitMs, problem: error.message }, 'transfer repeated');
      await options.clock.sleep(waitMs * (0.75 + Math.random() * 0.5), options.signal);
    }
  }
}

export interface Copied {
  sha256: string;
  bytes: number;
}

/** Writes a stream to a file while hashing it. `onBytes` may throw to end it, before the bytes are written. */
export async function copyHashed(
  source: AsyncIterable<Uint8Array>,
  destination: FileHandle,
  onBytes: (bytes: number) => void,
): Promise<Copied> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of source) {
    onBytes(chunk.length);
    hash.update(chunk);
    for (let done = 0; done < chunk.length;) {
      const { bytesWritten } = await destination.write(chunk, done, chunk.length - done);
      done += bytesWritten;
    }
    bytes += chunk.length;
  }
  return { sha256: hash.digest('hex'), bytes };
}

/** Passes a stream on while hashing it; `result` is complete once the stream has ended. */
export function hashThrough(source: AsyncIterable<Uint8Array>): {
  stream: AsyncIterable<Uint8Array>;
  result: () => Copied;
} {
  const hash = createHash('sha256');
  let bytes = 0;
  async function* through() {
    for await (const chunk of source) {
      hash.update(chunk);
      bytes += chunk.length;
      yield chunk;
    }
  }
  return { stream: through(), result: () => ({ sha256: hash.copy().digest('hex'), bytes }) };
}
