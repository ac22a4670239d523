import { processorSeconds } from '../process-tree.ts';
import type { KnownObject } from './known-objects.ts';
import type { CacheProcess } from './servers.ts';
import { CONNECTIONS, runWrk } from './wrk.ts';

export interface Sample {
  requests: number;
  cpuSeconds: number;
  requestsPerCpuSecond: number;
  requestsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
}

export interface SliceOptions {
  /** Path of wrk. */
  wrk: string;
  /** Base URL of the origin. */
  origin: string;
  object: KnownObject;
  seconds: number;
  threads: number;
  pauseMs: number;
}

/** Fills a cache and brings it to speed; its answers are compared, but need not come from the cache yet. @throws as {@link measure} */
export async function warm(cache: CacheProcess, options: SliceOptions): Promise<void> {
  const linesBefore = await cache.log.count();
  const { requests } = await load(cache, options, false);
  await cache.log.reach(linesBefore + requests - cache.unwrittenLines);
}

/**
 * One slice: how many requests a second of the server's processor time answers. What it still has to do when the load
 * ends, such as writing its access log, counts.
 *
 * @throws Error when an answer was wrong or did not come from the cache, or the log has not grown by the requests.
 */
export async function measure(cache: CacheProcess, options: SliceOptions): Promise<Sample> {
  const linesBefore = await cache.log.count();
  const cpuBefore = await processorSeconds(cache.pid);
  const { requests, seconds, p50Ms, p99Ms } = await load(cache, options, true);
  const lines = (await cache.log.reach(linesBefore + requests - cache.unwrittenLines)) - linesBefore;
  const cpuSeconds = (await processorSeconds(cache.pid)) - cpuBefore;
  // A load ends with one request on each connection that is answered and not counted; the lines of the one before may
  // be written only now.
  const most = requests + 2 * CONNECTIONS + cache.unwrittenLines;
  if (lines > most)
    throw new Error(`the access log has grown by ${lines} lines, and there were ${requests} requests`);
  return {
    requests,
    cpuSeconds,
    requestsPerCpuSecond: requests / cpuSeconds,
    requestsPerSecond: requests / seconds,
    p50Ms,
    p99Ms,
  };
}

function load(cache: CacheProcess, options: SliceOptions, mustHit: boolean) {
  const { wrk, origin, object, ...pace } = options;
  return runWrk(wrk, {
    url: cache.url,
    target: `${cache.forward ? origin : ''}/${object.path}`,
    host: new URL(cache.forward ? origin : cache.url).host,
    object,
    mustHit,
    ...pace,
  });
}
