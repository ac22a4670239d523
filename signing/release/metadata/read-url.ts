import { request } from 'undici';
import { systemClock, type Clock } from '../../../lib/clock.ts';
import { libError } from '../../../lib/errors.ts';
import { transportError } from '../../../lib/transport.ts';
import type { StoreReader } from './read-public.ts';
import { MAX_METADATA_BYTES } from './role-metadata.ts';

const DEADLINE_MS = 10_000;
/** A large file may take as long as it comes; without a byte for so long it does not come. */
const STALL_MS = 30_000;
/** Who sends less than this many bytes a second from then on keeps a mirror from asking others. */
const MIN_RATE = 1024;

/** Reads small files of a code store over HTTP, past every cache on the way. @throws E_UNREACHABLE, E_TIMEOUT. */
export const urlReader =
  (baseUrl: string): StoreReader =>
  async path => {
    const url = fileUrl(baseUrl, path);
    const deadline = AbortSignal.timeout(DEADLINE_MS);
    try {
      const body = await get(url, deadline);
      if (body === null) return null;
      const parts: Uint8Array[] = [];
      let size = 0;
      for await (const part of body) {
        size += part.length;
        if (size > MAX_METADATA_BYTES) throw unreadable(url, 'it is larger than metadata may be');
        parts.push(part);
      }
      return Buffer.concat(parts);
    } catch (error) {
      throw transportError(error, url, deadline.aborted, DEADLINE_MS);
    }
  };

/**
 * Bytes of a file of any size, as {@link urlReader}; the caller bounds them. Null when there is none.
 *
 * @throws E_UNREACHABLE; E_TIMEOUT, also for a source that only drips.
 */
export async function openUrl(
  baseUrl: string,
  path: string,
  clock: Pick<Clock, 'monotonic'> = systemClock,
): Promise<AsyncIterable<Uint8Array> | null> {
  const url = fileUrl(baseUrl, path);
  try {
    const body = await get(url, undefined);
    return body && flowing(body, url, clock);
  } catch (error) {
    throw transportError(error, url, false, STALL_MS);
  }
}

async function* flowing(
  body: AsyncIterable<Uint8Array>,
  url: string,
  clock: Pick<Clock, 'monotonic'>,
): AsyncGenerator<Uint8Array> {
  const startedMs = clock.monotonic();
  let size = 0;
  try {
    for await (const part of body) {
      size += part.length;
      const passedMs = clock.monotonic() - startedMs;
      if (passedMs > STALL_MS && size < (MIN_RATE * passedMs) / 1000) throw tooSlow(url, size, passedMs);
      yield part;
    }
  } catch (error) {
    throw transportError(error, url, false, STALL_MS);
  }
}

async function get(url: string, signal: AbortSignal | undefined): Promise<AsyncIterable<Uint8Array> | null> {
  const { statusCode, body } = await request(url, {
    headers: { 'cache-control': 'no-cache' },
    reset: true,
    headersTimeout: DEADLINE_MS,
    bodyTimeout: STALL_MS,
    ...(signal && { signal }),
  });
  if (statusCode === 200) return body as AsyncIterable<Uint8Array>;
  await body.dump({ limit: 1 << 14, signal: AbortSignal.timeout(DEADLINE_MS) });
  if (statusCode === 404) return null;
  throw unreadable(url, `the answer is ${statusCode}`);
}

const fileUrl = (baseUrl: string, path: string): string => `${baseUrl.replace(/\/+$/, '')}/${path}`;

const unreadable = (where: string, why: string) =>
  libError({
    code: 'E_UNREACHABLE',
    message: `The code store's metadata cannot be read: ${why}.`,
    where,
    fix: 'Check the address of the store, and that it runs.',
  });

const tooSlow = (where: string, size: number, passedMs: number) =>
  libError({
    code: 'E_TIMEOUT',
    message: 'The source sends so slowly that it is left.',
    where,
    expected: `at least ${MIN_RATE} bytes a second`,
    found: `${size} bytes in ${Math.round(passedMs / 1000)} s`,
    fix: 'Ask another source, or look at what is on the way to this one.',
  });
