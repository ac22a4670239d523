import { Agent } from 'undici';
import type { Dispatcher } from 'undici';
import { PilotageError } from '../../lib/errors.ts';
import { signingError } from '../../signing/errors.ts';
import { codecacheError } from '../errors.ts';
import { isClosed, resumeFile } from './resume-file.ts';
import type { Body } from './resume-file.ts';
import { requestOf, urlOf } from './way.ts';

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
   * @param path below the cache's base URL.
   * @throws E_CACHE_UNREACHABLE with the status in `found`, E_CACHE_ENCODING, E_TARGET_LENGTH ({@link isTooLong}).
   */
  bytes(source: Source, path: string, maxBytes: number): Promise<Buffer>;
  /**
   * A file of exactly `length` bytes, hashed on the way. What `target` already holds is the beginning and is not
   * fetched again; a download that is cut goes on where it was. After E_CACHE_UNREACHABLE `target` holds what came.
   *
   * @returns `kept`: how many bytes were there before. Errors as {@link Downloads.bytes}, and of the file system.
   */
  file(
    source: Source,
    path: string,
    length: number,
    target: string,
  ): Promise<{ sha256: string; bytes: number; kept: number }>;
  close(): Promise<void>;
}

export interface Source {
  /** One way to the store: a URL, or one behind a forward proxy as `http://squid:3128>http://store:8090`. */
  cache: string;
  /** Asks past everything that caches on the way. */
  noCache: boolean;
}

/** How far a file is; told with each piece that comes. */
export interface Progress {
  path: string;
  bytes: number;
  length: number;
}

/** Code of a body longer than it may be, before the caller knows better. */
const TOO_LONG = 'E_TARGET_LENGTH';

export const isTooLong = (error: unknown): boolean =>
  error instanceof PilotageError && error.code === TOO_LONG;

/** Status of an answer that was no success, of an error thrown here. */
export const statusOf = (error: unknown): number | undefined =>
  error instanceof PilotageError && error.code === 'E_CACHE_UNREACHABLE'
    ? Number(error.found?.split(' ')[1])
    : undefined;

/** A connection that the cache closed while the request was on its way says nothing about the cache. */
const MAX_CONNECTIONS_LOST = 2;

export function openDownloads(options: {
  timeouts?: DownloadTimeouts;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
}): Downloads {
  const timeouts = options.timeouts ?? defaultTimeouts;
  const agent = new Agent({
    connect: { timeout: timeouts.connectSeconds * 1000 },
    headersTimeout: timeouts.stallSeconds * 1000,
    bodyTimeout: timeouts.stallSeconds * 1000,
    connections: 4,
    maxHeaderSize: 16_384,
  });

  /** Ends with the caller's signal, and when `maxBytes` took longer than they may. */
  const deadline = (maxBytes: number): AbortSignal => {
    const seconds = timeouts.graceSeconds + maxBytes / timeouts.leastBytesPerSecond;
    const timeout = AbortSignal.timeout(Math.ceil(seconds * 1000));
    return options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]);
  };

  const send = async (
    source: Source,
    url: string,
    signal: AbortSignal,
    range: Record<string, string>,
  ): Promise<Dispatcher.ResponseData> => {
    const { origin, path, headers: host } = requestOf(url);
    const headers = {
      ...host,
      'accept-encoding': 'identity',
      ...(source.noCache && { 'cache-control': 'no-cache', pragma: 'no-cache' }),
      ...range,
    };
    for (let lost = 0; ; lost += 1) {
      try {
        return await agent.request({ origin, path, method: 'GET', headers, signal });
      } catch (error) {
        if (lost < MAX_CONNECTIONS_LOST && isClosed(error)) continue;
        throw unreachable(url, error, options.signal);
      }
    }
  };

  async function get(
    source: Source,
    path: string,
    signal: AbortSignal,
    from?: { bytes: number; etag: string | undefined },
  ): Promise<Body> {
    const url = urlOf(source, path);
    const range = from !== undefined && {
      range: `bytes=${from.bytes}-`,
      ...(from.etag !== undefined && { 'if-range': from.etag }),
    };
    const reply = await send(source, url, signal, range || {});
    reply.body.on('error', () => undefined);
    const { statusCode, headers } = reply;
    try {
      if (range && statusCode === 416) return await get(source, path, signal);
      if (statusCode !== 200 && !(range && statusCode === 206)) {
        throw unreachable(url, `status ${statusCode}`, undefined, retryAfter(headers['retry-after']));
      }
      const encoding = headers['content-encoding'] ?? 'identity';
      if (encoding !== 'identity') throw encoded(url, String(encoding));
    } catch (error) {
      reply.body.destroy();
      throw error;
    }
    const chunks = async function* (): AsyncGenerator<Buffer> {
      try {
        for await (const chunk of reply.body as AsyncIterable<Buffer>) yield chunk;
      } catch (error) {
        throw unreachable(url, error, options.signal);
      } finally {
        reply.body.destroy();
      }
    };
    return { partial: statusCode === 206, headers, chunks, discard: () => reply.body.destroy() };
  }

  return {
    bytes: async (source, path, maxBytes) => {
      const body = await get(source, path, deadline(maxBytes));
      const parts: Buffer[] = [];
      let bytes = 0;
      for await (const chunk of body.chunks()) {
        bytes += chunk.length;
        if (bytes > maxBytes) throw wrongLength(urlOf(source, path), `at most ${maxBytes} bytes`, 'more');
        parts.push(chunk);
      }
      return Buffer.concat(parts);
    },
    file: async (source, path, length, target) => {
      const signal = deadline(length);
      return resumeFile({
        target,
        length,
        get: from => get(source, path, signal, from),
        wrongLength: found => wrongLength(urlOf(source, path), `${length} bytes`, found),
        onBytes: bytes => options.onProgress?.({ path, bytes, length }),
      });
    },
    close: () => agent.destroy(),
  };
}

/** Seconds, from a number or a date (RFC 9110 10.2.3). */
function retryAfter(header: string | string[] | undefined): number | undefined {
  if (typeof header !== 'string') return undefined;
  const seconds = /^\d{1,9}$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return seconds > 0 ? Math.ceil(seconds) : undefined;
}

const wrongLength = (url: string, expected: string, found: string) =>
  signingError({
    code: TOO_LONG,
    message: 'The cache sent a file of another length than was signed; nothing of it was kept.',
    where: url,
    expected,
    found,
    fix: 'Use another cache, and look at the one that is named.',
  });

const encoded = (url: string, encoding: string) =>
  codecacheError({
    code: 'E_CACHE_ENCODING',
    message: 'The answer was encoded on the way, though it was asked for as it is.',
    where: url,
    expected: 'no content-encoding',
    found: `content-encoding ${encoding.slice(0, 40)}`,
    fix: 'Look for a proxy between this node and the cache that compresses; use another way.',
  });

/** The caller's own abort keeps its reason; everything else is the cache's failure. */
function unreachable(
  url: string,
  reason: unknown,
  signal: AbortSignal | undefined,
  retryAfterSeconds?: number,
): unknown {
  if (signal?.aborted === true) return signal.reason;
  const code: unknown = (reason as { code?: unknown } | null)?.code;
  return signingError({
    code: 'E_CACHE_UNREACHABLE',
    message: 'The cache gave no answer to use.',
    where: url,
    // A DOMException, as a deadline throws it, has a number for a code.
    found: typeof code === 'string' ? code : reason instanceof Error ? reason.message : String(reason),
    fix: 'Check that the cache runs and can be reached from this node; list another one.',
    cause: reason,
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  });
}
