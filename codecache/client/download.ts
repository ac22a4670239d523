import { createHash } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { Agent, request } from 'undici';
import type { Dispatcher } from 'undici';
import { PilotageError, fromSystemError } from '../../lib/errors.ts';
import { signingError } from '../../signing/errors.ts';

export interface DownloadTimeouts {
  connectSeconds: number;
  /** Without a byte: a stall. Slow is not dead. */
  stallSeconds: number;
  /** A file may take this long and the time its greatest length takes at the least rate; else a cache that sends a byte
   * now and then could hold a node for hours. */
  graceSeconds: number;
  leastBytesPerSecond: number;
}

/** The wrapper allows the same. */
export const defaultTimeouts: DownloadTimeouts = {
  connectSeconds: 5,
  stallSeconds: 20,
  graceSeconds: 120,
  leastBytesPerSecond: 8192,
};

/** The connections of one run of the client. */
export interface Downloads {
  /**
   * Body of one GET, at most `maxBytes`.
   *
   * @param path below the cache's base URL. @throws E_CACHE_UNREACHABLE with the status in `found`; {@link tooLong}.
   */
  bytes(source: Source, path: string, maxBytes: number): Promise<Buffer>;
  /** Into a new file, hashed on the way. Errors as {@link Downloads.bytes}, and of the file system. */
  file(
    source: Source,
    path: string,
    maxBytes: number,
    target: string,
  ): Promise<{ sha256: string; bytes: number }>;
  close(): Promise<void>;
}

/** One way to the store; `noCache` asks past everything that caches on it. */
export interface Source {
  cache: string;
  noCache: boolean;
}

export const urlOf = (source: Source, path: string): string => `${source.cache.replace(/\/+$/, '')}/${path}`;

/** Code of a body longer than it may be, before the caller knows better. */
const TOO_LONG = 'E_TARGET_LENGTH';

export const isTooLong = (error: unknown): boolean =>
  error instanceof PilotageError && error.code === TOO_LONG;

/** Status of an answer that was no success, of an error thrown here. */
export const statusOf = (error: unknown): number | undefined =>
  error instanceof PilotageError && error.code === 'E_CACHE_UNREACHABLE'
    ? Number(error.found?.split(' ')[1])
    : undefined;

export function openDownloads(options: {
  timeouts?: DownloadTimeouts;
  signal?: AbortSignal | undefined;
}): Downloads {
  const timeouts = options.timeouts ?? defaultTimeouts;
  const agent = new Agent({
    connect: { timeout: timeouts.connectSeconds * 1000 },
    headersTimeout: timeouts.stallSeconds * 1000,
    bodyTimeout: timeouts.stallSeconds * 1000,
    connections: 4,
    maxHeaderSize: 16_384,
  });

  async function* chunks(source: Source, path: string, maxBytes: number): AsyncGenerator<Buffer> {
    const url = urlOf(source, path);
    const seconds = timeouts.graceSeconds + maxBytes / timeouts.leastBytesPerSecond;
    const deadline = AbortSignal.timeout(Math.ceil(seconds * 1000));
    let reply: Dispatcher.ResponseData;
    try {
      reply = await request(url, {
        dispatcher: agent,
        headers: {
          'accept-encoding': 'identity',
          ...(source.noCache && { 'cache-control': 'no-cache', pragma: 'no-cache' }),
        },
        signal: options.signal === undefined ? deadline : AbortSignal.any([options.signal, deadline]),
      });
    } catch (error) {
      throw unreachable(url, error, options.signal);
    }
    reply.body.on('error', () => undefined);
    if (reply.statusCode !== 200) {
      reply.body.destroy();
      throw unreachable(url, `status ${reply.statusCode}`, undefined);
    }
    let bytes = 0;
    try {
      for await (const chunk of reply.body as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > maxBytes) throw tooLong(url, maxBytes);
        yield chunk;
      }
    } catch (error) {
      throw error instanceof PilotageError ? error : unreachable(url, error, options.signal);
    } finally {
      reply.body.destroy();
    }
  }

  return {
    bytes: async (source, path, maxBytes) =>
      Buffer.concat(await Array.fromAsync(chunks(source, path, maxBytes))),
    file: async (source, path, maxBytes, target) => {
      const hash = createHash('sha256');
      let bytes = 0;
      const file = await open(target, 'wx', 0o600).catch((error: unknown) => {
        throw fromSystemError(error, target);
      });
      try {
        for await (const chunk of chunks(source, path, maxBytes)) {
          hash.update(chunk);
          await write(file, chunk, target);
          bytes += chunk.length;
        }
        await file.sync();
        return { sha256: hash.digest('hex'), bytes };
      } catch (error) {
        await rm(target, { force: true });
        throw error;
      } finally {
        await file.close();
      }
    },
    close: () => agent.destroy(),
  };
}

async function write(
  file: { writeFile(data: Buffer): Promise<void> },
  chunk: Buffer,
  where: string,
): Promise<void> {
  try {
    await file.writeFile(chunk);
  } catch (error) {
    throw fromSystemError(error, where);
  }
}

const tooLong = (url: string, maxBytes: number) =>
  signingError({
    code: TOO_LONG,
    message: 'The file is longer than was signed.',
    where: url,
    expected: `at most ${maxBytes} bytes`,
    found: 'more',
    fix: 'Use another cache.',
  });

/** The caller's own abort keeps its reason; everything else is the cache's failure. */
function unreachable(url: string, reason: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted === true) return signal.reason;
  const system = reason as NodeJS.ErrnoException;
  return signingError({
    code: 'E_CACHE_UNREACHABLE',
    message: 'The cache gave no answer to use.',
    where: url,
    found: reason instanceof Error ? String(system.code ?? reason.message) : String(reason),
    fix: 'Check that the cache runs and can be reached from this node; list another one.',
    cause: reason,
  });
}
