import { randomBytes } from 'node:crypto';
import { systemClock } from '../../lib/clock.ts';
import type { Clock } from '../../lib/clock.ts';
import { ensureDirectory } from '../../lib/files.ts';
import type { Logger } from '../../lib/log.ts';
import { objectName } from '../http/object-name.ts';
import type { Observer } from '../http/observe-answer.ts';
import { openAccessLog } from '../http/access-log.ts';
import { startPlainServer } from '../http/plain-server.ts';
import type { Listen, PlainServer } from '../http/plain-server.ts';
import { defaultLimits } from '../http/request-server.ts';
import type { ServerLimits } from '../http/request-server.ts';
import { cachesOf } from '../http/cache-group.ts';
import { RequestHandler } from './front/handle-request.ts';
import { HotAnswers } from './front/hot-answers.ts';
import { REVERSE, originKey } from './front/request-target.ts';
import { startFront } from './front/start-front.ts';
import { AnswerCache } from './metadata/answer-cache.ts';
import { TIMESTAMP } from './metadata/kept-metadata.ts';
import type { View } from './metadata/kept-metadata.ts';
import { AnswerStore } from './metadata/answer-store.ts';
import { ChannelFollower } from './metadata/follow-channels.ts';
import type { DiskKeeper } from './objects/disk-keeper.ts';
import { MemoryTier } from './objects/memory-tier.ts';
import { ObjectCache } from './objects/object-cache.ts';
import { DiskTier } from './objects/disk-tier.ts';
import { LocalKeeper } from './objects/local-keeper.ts';
import { TrafficCounters } from './operations/counters.ts';
import { NOTHING_KEPT } from './operations/cache-stats.ts';
import type { CacheStats } from './operations/cache-stats.ts';
import { readiness } from './operations/readiness.ts';
import { serviceAnswers } from './operations/service-answers.ts';
import type { UpstreamTimeouts } from './upstreams/ask-upstream.ts';
import { UpstreamPool } from './upstreams/upstream-pool.ts';
import { Upstreams } from './upstreams/upstreams.ts';

export interface CacheOptions {
  /** Groups in order; `http://a|http://b` is one group. */
  upstreams: string[];
  /** Caches beside this one, asked before an upstream is. */
  siblings?: string[];
  /** Origins that may be asked in absolute form (forward proxy); by default the upstreams. */
  allowedOrigins?: string[];
  directory: string;
  listen: Listen;
  log: Logger;
  clock?: Clock;
  /** Of objects held in memory, default 128 MiB. */
  memoryBytes?: number;
  /** Larger objects are answered from disk; default half of `memoryBytes`. */
  maxMemoryObjectBytes?: number;
  /** Disk quota for hash-named objects. */
  maxStoreBytes: number;
  maxObjectBytes: number;
  maxMetadataBytes: number;
  timeouts: UpstreamTimeouts;
  limits?: Partial<ServerLimits>;
  /** File for one line per answer, `-` for the log; none without it. */
  accessLog?: string;
  /** Begin as after {@link CacheServer.outOfService}. */
  outOfService?: boolean;
  /** Who decides what stays in the directory; without it this process alone does. */
  keeper?: DiskKeeper;
  /** The numbers of all processes of this cache; without it there is one. */
  totals?: () => Promise<CacheStats>;
  /** False: node:http answers everything, for tests that compare both paths. */
  rawFront?: boolean;
  /** Told of every answer, as the counters are. */
  observe?: Observer;
}

export interface CacheServer extends PlainServer {
  /** Of this process. */
  stats(): CacheStats;
  /** Whether /readyz sends balancers elsewhere; requests are answered all the same. */
  outOfService(out: boolean): void;
  /** Goes on in a new access log, after a rotation. */
  reopenLog(): Promise<void>;
}

const ANSWER_MEMORY_BYTES = 64 << 20;

/**
 * Starts a caching proxy for a code store. It can withhold, never forge: hash-named objects are verified before they are
 * kept and before their last byte is served. It asks its upstreams and allowed origins only, whatever the request says.
 *
 * @throws E_PERMISSION and the like for the directory, E_PORT_IN_USE and the like for the address.
 */
export async function serveCache(options: CacheOptions): Promise<CacheServer> {
  const { log, clock = systemClock, directory, timeouts } = options;
  const startedMs = clock.monotonic();
  const traffic = new TrafficCounters();
  const pool = new UpstreamPool({ clock, log, timeouts });
  const views = makeViews(options, pool);
  const answers = new AnswerStore({ directory, maxBytes: ANSWER_MEMORY_BYTES, log });
  const own =
    options.keeper === undefined
      ? new LocalKeeper({ directory, maxBytes: options.maxStoreBytes, log })
      : undefined;
  const keeper = options.keeper ?? own!;
  const disk = new DiskTier({ directory, keeper, clock, log });
  const memory = new MemoryTier({
    maxBytes: options.memoryBytes ?? 128 << 20,
    ...(options.maxMemoryObjectBytes !== undefined && { maxObjectBytes: options.maxMemoryObjectBytes }),
    onUse: sha256 => disk.used(sha256),
  });
  await ensureDirectory(directory);
  await answers.open();
  await own?.load();
  const objects = new ObjectCache({ memory, disk, keeper, clock, maxBytes: options.maxObjectBytes });
  const pseudonym = `pilotage-${randomBytes(4).toString('hex')}`;
  const { idleSeconds } = { ...defaultLimits, ...options.limits };
  const hot = new HotAnswers({ via: `1.1 ${pseudonym}`, idleSeconds });
  const metadata = new AnswerCache({ store: answers, clock, maxBytes: options.maxMetadataBytes });
  const follower = new ChannelFollower({
    answers: metadata,
    objects,
    keeper,
    via: `1.1 ${pseudonym}`,
    log,
  });
  for (const view of views.values()) await metadata.recall(view);
  const handler = new RequestHandler({
    views,
    answers: metadata,
    objects,
    hot,
    pseudonym,
    clock,
    log,
  });

  const accessLog = options.accessLog === undefined ? undefined : await openAccessLog(options.accessLog, log);
  const handle = handler.handle.bind(handler);
  let leaving = options.outOfService ?? false;
  let inFlight = 0;
  const reverse = views.get(REVERSE)!;
  const checks = readiness({
    leaving: () => leaving,
    disk: () => disk.stats(),
    upstreams: () => pool.stats(),
    usableUntilMs: () => metadata.usableUntilMs(),
    now: () => clock.now(),
    ask: () => metadata.get(reverse, objectName(TIMESTAMP), { noCache: false, via: `1.1 ${pseudonym}` }),
  });
  const stats = (): CacheStats => {
    const { memory: held, disk: written, flights } = objects.stats();
    const upstreams = pool.stats();
    return {
      ...traffic.read(),
      upSeconds: Math.round((clock.monotonic() - startedMs) / 1000),
      processes: 1,
      missing: 0,
      replaced: 0,
      connections: server.connections(),
      inFlight,
      degraded: written.degraded,
      diskFailures: written.failures,
      notReady: Number(!checks().every(({ ok }) => ok)),
      flights,
      bytesFetched: upstreams.reduce((sum, { bytes }) => sum + bytes, 0),
      lostLines: accessLog?.lost ?? 0,
      disk: own?.usage() ?? NOTHING_KEPT,
      answers: answers.size,
      metadata: metadata.stats(),
      memory: held,
      upstreams,
    };
  };
  const totals = async (): Promise<CacheStats> => {
    try {
      return (await options.totals?.()) ?? stats();
    } catch (error) {
      log.warn({ err: error }, 'the sum over all processes is not known; these are the numbers of one');
      return { ...stats(), missing: 1 };
    }
  };
  const service = serviceAnswers({ checks, leaving: () => leaving, totals });
  const observe: Observer = answered => {
    traffic.count(answered);
    accessLog?.write(answered);
    options.observe?.(answered);
  };
  const server = await startPlainServer({
    listen: options.listen,
    handler: async (request, response) => {
      inFlight += 1;
      response.once('close', () => (inFlight -= 1));
      await (service.get(request.url ?? '') ?? handle)(request, response);
    },
    log,
    observe,
    ...(options.limits && { limits: options.limits }),
    ...(options.rawFront !== false && {
      front: parts => startFront(parts, { answers: hot, now: () => clock.now(), observe }),
    }),
  });
  return {
    ...server,
    stats,
    outOfService: out => {
      leaving = out;
    },
    drain: () => {
      leaving = true;
      server.drain();
    },
    reopenLog: async () => accessLog?.reopen(),
    close: async graceMs => {
      leaving = true;
      await server.close(graceMs);
      await pool.close();
      await follower.close();
      answers.close();
      await objects.close();
      await accessLog?.close();
    },
  };
}

function makeViews(
  { upstreams, siblings = [], allowedOrigins }: CacheOptions,
  pool: UpstreamPool,
): Map<string, View> {
  const all = new Upstreams({ groups: upstreams, siblings, pool });
  const views = new Map<string, View>([[REVERSE, { id: REVERSE, upstreams: all }]]);
  for (const url of allowedOrigins ?? upstreams.flatMap(cachesOf)) {
    const id = originKey(url);
    views.set(id, { id, upstreams: new Upstreams({ groups: [url], siblings, pool }) });
  }
  return views;
}
