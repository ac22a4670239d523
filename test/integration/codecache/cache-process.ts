import { systemClock } from '../../../lib/clock.ts';
import { createLog } from '../../../lib/log.ts';
import { serveCache } from '../../../codecache/proxy/serve-cache.ts';
import type { CacheOptions } from '../../../codecache/proxy/serve-cache.ts';

/** A cache in a process of its own, for tests that end it by force or give it a disk of its own; see own-cache.ts. */
let aheadMs = 0;
const server = await serveCache({
  ...(JSON.parse(process.argv[2]!) as Omit<CacheOptions, 'log' | 'listen'>),
  listen: '127.0.0.1:0',
  clock: { ...systemClock, now: () => Date.now() + aheadMs },
  log: createLog('cache', 'info'),
});
process.on('message', ({ aheadSeconds }: { aheadSeconds: number }) => {
  aheadMs = aheadSeconds * 1000;
  process.send!({ aheadSeconds });
});
process.on('disconnect', () => process.exit());
process.send!({ url: server.url });
