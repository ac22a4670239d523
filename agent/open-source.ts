import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import type { Dispatcher } from 'undici';
import { agentError } from './errors.ts';
import { TransientTransferError } from './transfer.ts';

const MAX_REDIRECTS = 5;

export interface Source {
  stream: AsyncIterable<Uint8Array>;
  /** Size as the source announces it. */
  bytes: number | undefined;
}

/**
 * Opens an input for reading: `file:` (a regular file on this node) or `http:`, `https:` (redirects followed up to five
 * times, within these two).
 *
 * @throws TransientTransferError for what may go better the next time; E_STAGE_IN_FAILED for what will not.
 */
export async function openSource(
  url: string,
  options: { dispatcher: Dispatcher; signal: AbortSignal },
): Promise<Source> {
  return url.startsWith('file:') ? openFile(url) : openHttp(url, options);
}

async function openFile(url: string): Promise<Source> {
  const path = localPath(url);
  // Non-blocking, so that a FIFO in the place of the file cannot hold the pilot.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    throw failed(url, `The file cannot be opened (${(error as NodeJS.ErrnoException).code}).`);
  });
  const found = await file.stat();
  if (!found.isFile()) {
    await file.close();
    throw failed(url, 'This is not a regular file.');
  }
  return { stream: file.createReadStream({ highWaterMark: 256 * 1024 }), bytes: found.size };
}

/** The path of a `file:` URL of this node. @throws E_STAGE_IN_FAILED for a URL that names another host. */
function localPath(url: string): string {
  try {
    return fileURLToPath(url);
  } catch (error) {
    throw failed(url, `The URL names no file of this node: ${(error as Error).message}.`);
  }
}

async function openHttp(
  url: string,
  options: { dispatcher: Dispatcher; signal: AbortSignal },
): Promise<Source> {
  let target = url;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
    const response = await send(target, options);
    const { statusCode, headers, body } = response;
    if (statusCode === 200) {
      const length = Number(headers['content-length'] ?? Number.NaN);
      return { stream: transient(body), bytes: Number.isSafeInteger(length) ? length : undefined };
    }
    await body.dump().catch(() => undefined);
    if (statusCode >= 500 || statusCode === 429 || statusCode === 408) {
      throw new TransientTransferError(`${target} answered ${statusCode}`, {
        retryAfterSeconds: Number(headers['retry-after'] ?? 0) || undefined,
      });
    }
    const location = headers.location;
    if (statusCode < 300 || statusCode >= 400 || typeof location !== 'string') {
      throw failed(target, `The source answered ${statusCode}.`);
    }
    if (!URL.canParse(location, target))
      throw failed(target, 'The source redirects to something that is no URL.');
    target = new URL(location, target).href;
    if (!/^https?:/.test(target))
      throw failed(url, 'The source redirects to something that is not http or https.');
  }
  throw failed(url, `The source redirects more than ${MAX_REDIRECTS} times.`);
}

async function send(url: string, options: { dispatcher: Dispatcher; signal: AbortSignal }) {
  try {
    return await request(url, {
      ...options,
      headersTimeout: 30_000,
      bodyTimeout: 60_000,
      headers: { 'accept-encoding': 'identity' },
    });
  } catch (error) {
    options.signal.throwIfAborted();
    throw new TransientTransferError(describe(error), { cause: error });
  }
}

async function* transient(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (error) {
    throw new TransientTransferError(describe(error), { cause: error });
  }
}

/** The code of a network error where it has one: its message alone is often empty. */
export const describe = (error: unknown): string =>
  `${(error as NodeJS.ErrnoException).code ?? ''} ${(error as Error).message}`.trim();

const failed = (where: string, message: string) =>
  agentError({
    code: 'E_STAGE_IN_FAILED',
    message,
    where,
    fix: 'Check the source and the network of the site.',
  });
