import { request } from 'undici';
import { libError } from '../../lib/errors.ts';
import type { StoreReader } from '../../signing/release/read-public.ts';
import { MAX_METADATA_BYTES } from '../../signing/release/role-metadata.ts';

const DEADLINE_MS = 10_000;

/** Reads the code store over HTTP, past every cache on the way. @throws E_UNREACHABLE. */
export const urlReader =
  (baseUrl: string): StoreReader =>
  async path => {
    const url = `${baseUrl.replace(/\/+$/, '')}/${path}`;
    const signal = AbortSignal.timeout(DEADLINE_MS);
    const { statusCode, body } = await request(url, {
      headers: { 'cache-control': 'no-cache' },
      reset: true,
      signal,
    });
    if (statusCode === 404) {
      await body.dump();
      return null;
    }
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of body as AsyncIterable<Buffer>) {
      size += part.length;
      if (size > MAX_METADATA_BYTES) throw unreadable(url, 'it is larger than metadata may be');
      parts.push(part);
    }
    if (statusCode !== 200) throw unreadable(url, `the answer is ${statusCode}`);
    return Buffer.concat(parts);
  };

const unreadable = (where: string, why: string) =>
  libError({
    code: 'E_UNREACHABLE',
    message: `The code store's metadata cannot be read: ${why}.`,
    where,
    fix: 'Check "store" in the configuration, and that the store runs.',
  });
