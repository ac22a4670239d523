import { serveCache } from '../../../codecache/proxy/serve-cache.ts';
import type { CacheOptions, CacheServer } from '../../../codecache/proxy/serve-cache.ts';
import { silentLog } from '../../../lib/log.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import type { Ending } from '../../lab/temporary.ts';

/** Starts a cache in this process, for tests that ask for its numbers or move its clock; it ends with the test. */
export async function startHereCache(
  t: Ending,
  upstreams: string[],
  more: Partial<CacheOptions> = {},
): Promise<CacheServer & { directory: string }> {
  const directory = more.directory ?? (await temporaryDirectory(t, 'cache'));
  const server = await serveCache({
    upstreams,
    directory,
    listen: '127.0.0.1:0',
    log: silentLog,
    maxStoreBytes: 2 ** 30,
    maxObjectBytes: 2 ** 30,
    maxMetadataBytes: 2 ** 20,
    timeouts: { connectSeconds: 2, headerSeconds: 10, stallSeconds: 10, totalSeconds: 30 },
    ...more,
  });
  t.after(() => server.close(0));
  return { ...server, directory };
}
