import { request } from 'undici';
import { PilotageError, fromSystemError, libError } from '../../../lib/errors.ts';
import type { CacheStats } from './cache-stats.ts';

const MAX_BYTES = 1 << 18;

/**
 * Asks a running cache what it counted.
 *
 * @param url base URL of the cache. @throws E_USAGE, E_UNREACHABLE, E_TIMEOUT, E_PROTOCOL naming it.
 */
export async function readCacheStats(url: string, timeoutSeconds = 10): Promise<CacheStats> {
  const where = `${url.replace(/\/+$/, '')}/stats`;
  if (!URL.canParse(where) || !/^https?:/i.test(where))
    throw libError({
      code: 'E_USAGE',
      message: 'This is no address of a cache.',
      where: '--url',
      expected: 'an http: or https: URL',
      found: url,
      fix: 'Give the base URL that "pilotage cache serve" printed.',
    });
  try {
    const reply = await request(where, { signal: AbortSignal.timeout(timeoutSeconds * 1000) });
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of reply.body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > MAX_BYTES) throw notACache(where, 'an answer over the limit');
      chunks.push(chunk);
    }
    const stats = parse(Buffer.concat(chunks).toString('utf8'));
    if (reply.statusCode !== 200 || stats === undefined) throw notACache(where, `status ${reply.statusCode}`);
    return stats;
  } catch (error) {
    if (error instanceof PilotageError) throw error;
    if (error instanceof Error && /Timeout/.test(error.name)) {
      throw libError({
        code: 'E_TIMEOUT',
        message: 'The cache did not answer in time.',
        where,
        expected: `an answer within ${timeoutSeconds} s`,
        fix: 'Is the cache running there?',
        cause: error,
      });
    }
    throw fromSystemError(error, where);
  }
}

function parse(text: string): CacheStats | undefined {
  try {
    const stats = JSON.parse(text) as CacheStats;
    return typeof stats.hits === 'number' && Array.isArray(stats.upstreams) ? stats : undefined;
  } catch {
    return undefined;
  }
}

const notACache = (where: string, found: string) =>
  libError({
    code: 'E_PROTOCOL',
    message: 'What answers there is no Pilotage cache.',
    where,
    expected: 'the JSON of /stats',
    found,
    fix: 'Give the base URL that "pilotage cache serve" printed.',
  });
