import type { Command } from 'commander';
import { action, collect, print } from '../../lib/cli.ts';
import { loadConfig } from '../../lib/config.ts';
import { createLog } from '../../lib/log.ts';
import { Shutdown } from '../../lib/shutdown.ts';
import { CacheServeConfig } from '../config/schema.ts';
import type { CacheStats } from './operations/counters.ts';
import { readCacheStats } from './operations/read-stats.ts';
import { serveCache } from './serve-cache.ts';

interface ServeOptions {
  json?: boolean;
  config?: string;
  dir?: string;
  listen?: string;
  upstream?: string[];
  sibling?: string[];
  allowOrigin?: string[];
  processes?: number;
  memoryBytes?: string;
  maxStoreBytes?: string;
}

/** Mounts what runs and looks at a caching proxy: `pilotage cache serve` and `stats`. */
export function registerProxy(cache: Command): void {
  cache
    .command('serve')
    .description('Run a caching proxy for a code store: keeps only what it verified, survives its origin.')
    .option(
      '--upstream <url>',
      'origin or other cache to fetch from; repeat for more, in order; any of "http://a|http://b"',
      collect,
    )
    .option('--sibling <url>', 'cache beside this one, asked for what it has; repeat for more', collect)
    .option(
      '--allow-origin <url>',
      'origin that clients may name (forward proxy), default the upstreams; repeat for more',
      collect,
    )
    .option('--dir <directory>', 'directory for what is kept')
    .option(
      '--listen <host:port>',
      'address to listen on; port 0 takes any free port (default 127.0.0.1:8091)',
    )
    .option('--processes <n>', 'processes that answer on the same port (default 1)', Number)
    .option('--memory-bytes <size>', 'objects held in memory, of each process (default 128MiB)')
    .option('--max-store-bytes <size>', 'disk quota (default 20GiB)')
    .option('--config <file>', 'YAML or JSON file with the settings of codecache/config/schema.ts')
    .action(action(runCache));
  cache
    .command('stats')
    .description('What a running cache counted: hits, misses, bytes, and upstreams blamed for forged bytes.')
    .requiredOption('--url <url>', 'base URL of the cache')
    .action(
      action<{ json?: boolean; url: string }>(async options =>
        print(await readCacheStats(options.url), options, describeStats),
      ),
    );
}

async function runCache(options: ServeOptions): Promise<void> {
  const { value: config } = await loadConfig({
    schema: CacheServeConfig,
    file: options.config,
    envPrefix: 'PILOTAGE_CACHE_SERVE_',
    flags: {
      upstreams: options.upstream,
      siblings: options.sibling,
      allowedOrigins: options.allowOrigin,
      dir: options.dir,
      listen: options.listen,
      processes: options.processes,
      memoryBytes: options.memoryBytes,
      maxStoreBytes: options.maxStoreBytes,
    },
  });
  const log = createLog('cache');
  const shutdown = new Shutdown({ log }).listen();
  const { connectSeconds, headerWaitSeconds, stallSeconds, totalSeconds } = config;
  const { idleSeconds, headerSeconds, maxConnections } = config;
  const server = await serveCache({
    upstreams: config.upstreams,
    siblings: config.siblings,
    ...(config.allowedOrigins && { allowedOrigins: config.allowedOrigins }),
    directory: config.dir,
    listen: config.listen,
    log,
    memoryBytes: config.memoryBytes,
    maxMemoryObjectBytes: config.maxMemoryObjectBytes ?? Math.floor(config.memoryBytes / 2),
    maxStoreBytes: config.maxStoreBytes,
    maxObjectBytes: config.maxObjectBytes,
    maxMetadataBytes: config.maxMetadataBytes,
    timeouts: { connectSeconds, headerSeconds: headerWaitSeconds, stallSeconds, totalSeconds },
    limits: { idleSeconds, headerSeconds, maxConnections },
  });
  shutdown.defer('cache server', () => server.close());
  ready('cache', server.url);
}

function ready(program: string, url: string): void {
  process.stdout.write(`${JSON.stringify({ ready: true, program, url })}\n`);
}

function describeStats(stats: CacheStats): string {
  const answered = stats.hits + stats.misses + stats.revalidated + stats.stale + stats.joined;
  const saved = answered === 0 ? 0 : Math.round((100 * (answered - stats.misses)) / answered);
  const lines = [
    `up ${stats.upSeconds} s, ${answered} answers, ${saved} % without a full upstream fetch`,
    `hits ${stats.hits}, joined ${stats.joined}, revalidated ${stats.revalidated}, stale ${stats.stale}, misses ${stats.misses}, failed ${stats.failed}`,
    `kept ${stats.kept.objects} objects (${stats.kept.objectBytes} bytes), ${stats.kept.answers} metadata answers; served ${stats.bytesServed} bytes`,
  ];
  for (const upstream of stats.upstreams) {
    const blame = upstream.lastBlame === undefined ? '' : `, last for ${upstream.lastBlame.object}`;
    lines.push(
      `upstream ${upstream.url}: ${upstream.healthy ? 'healthy' : 'failing'}, ${upstream.requests} requests, ` +
        `${upstream.failures} failures, blamed ${upstream.blamed} times${blame}`,
    );
  }
  return lines.join('\n');
}
