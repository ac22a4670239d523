import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { systemClock } from '../../lib/clock.ts';
import type { Clock } from '../../lib/clock.ts';
import { ensureDirectory } from '../../lib/files.ts';
import type { Logger } from '../../lib/log.ts';
import type { Observer } from '../http/observe-answer.ts';
import { startPlainServer } from '../http/plain-server.ts';
import type { Listen, PlainServer } from '../http/plain-server.ts';
import { defaultLimits } from '../http/request-server.ts';
import type { ServerLimits } from '../http/request-server.ts';
import { cachesOf } from '../http/cache-group.ts';
import { sendJson } from '../http/short-answers.ts';
import { RequestHandler } from './front/handle-request.ts';
import { HotAnswers } from './front/hot-answers.ts';
import { REVERSE, originKey } from './front/request-target.ts';
import { startFront } from './front/start-front.ts';
import { AnswerCache } from './metadata/answer-cache.ts';
import type { View } from './metadata/answer-cache.ts';
import { AnswerStore } from './metadata/answer-store.ts';
import { MemoryTier } from './objects/memory-tier.ts';
import { ObjectCache } from './objects/object-cache.ts';
import { DiskTier } from './objects/disk-tier.ts';
import { LocalKeeper } from './objects/local-keeper.ts';
import { TrafficCounters } from './operations/counters.ts';
import type { CacheStats } from './operations/counters.ts';
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
  /** False: node:http answers everything, for tests that compare both paths. */
  rawFront?: boolean;
  /** Told of every answer, as the counters are. */
  observe?: Observer;
}

export interface CacheServer extends PlainServer {
  stats(): CacheStats;
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
  const keeper = new LocalKeeper({ directory, maxBytes: options.maxStoreBytes, log });
  const disk = new DiskTier({ directory, keeper, clock, log });
  const memory = new MemoryTier({
    maxBytes: options.memoryBytes ?? 128 << 20,
    ...(options.maxMemoryObjectBytes !== undefined && { maxObjectBytes: options.maxMemoryObjectBytes }),
    onUse: sha256 => disk.used(sha256),
  });
  await ensureDirectory(directory);
  await answers.open();
  await keeper.load();
  const objects = new ObjectCache({ memory, disk, keeper, clock, maxBytes: options.maxObjectBytes });
  const pseudonym = `pilotage-${randomBytes(4).toString('hex')}`;
  const { idleSeconds } = { ...defaultLimits, ...options.limits };
  const hot = new HotAnswers({ via: `1.1 ${pseudonym}`, idleSeconds });
  const metadata = new AnswerCache({ store: answers, clock, maxBytes: options.maxMetadataBytes });
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

  const stats = (): CacheStats => {
    const { objects: count, bytes: objectBytes } = keeper.usage();
    const { answers: answerCount, bytes: answerBytes } = answers.size;
    return {
      upSeconds: Math.round((clock.monotonic() - startedMs) / 1000),
      ...traffic.counters,
      kept: { objects: count, objectBytes, answers: answerCount, answerBytes },
      upstreams: pool.stats(),
    };
  };
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (request.url === '/livez') return sendJson(request, response, { ok: true, program: 'cache' });
    if (request.url === '/stats') return sendJson(request, response, stats());
    return handler.handle(request, response);
  };

  const observe: Observer = answered => {
    traffic.count(answered);
    options.observe?.(answered);
  };
  const server = await startPlainServer({
    listen: options.listen,
    handler: answer,
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
    close: async graceMs => {
      await server.close(graceMs);
      await pool.close();
      await answers.close();
      await objects.close();
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
