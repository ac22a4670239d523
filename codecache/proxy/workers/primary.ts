import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../../lib/clock.ts';
import { libError } from '../../../lib/errors.ts';
import type { PilotageError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/log.ts';
import { codecacheError } from '../../errors.ts';
import type { CacheServeConfig } from '../../config/schema.ts';
import { LocalKeeper } from '../objects/local-keeper.ts';
import { verifyObjects } from '../objects/verify-objects.ts';
import { takeCacheDirectory } from '../operations/cache-directory.ts';
import { openControlSocket } from '../operations/control-socket.ts';
import type { AllStats, Control } from '../operations/control-socket.ts';
import { purge } from '../operations/offline-control.ts';
import { StatsSum } from '../operations/stats-sum.ts';
import type { PrimaryCalls, WorkerOptions } from './calls.ts';
import { openListeningSocket } from './listening-socket.ts';
import type { ListeningSocket } from './listening-socket.ts';
import { WorkerPool } from './worker-pool.ts';
import type { PoolPlan } from './worker-pool.ts';
import { WorkerProcess } from './worker-process.ts';

export interface Primary {
  url: string;
  /** See {@link Control.restart}. */
  restart(): Promise<{ processes: number }>;
  /** Every process goes on in a new access log, after a rotation. */
  reopenLogs(): void;
  /** Ends the workers, each with the time to finish what it does, and gives up socket and directory. */
  close(): Promise<void>;
}

/** A process that is busy for longer is left out of the sum. */
const STATS_MS = 1000;
const ORPHANS_MS = 3000;
const LOOK_MS = 50;

/**
 * The process that owns what the processes of one cache share: the listening socket, the keeper of the directory, the
 * control socket. The workers answer clients; when one ends it is replaced.
 *
 * @param options.readConfig reads the configuration again, for a restart.
 * @throws E_DIRECTORY_IN_USE, E_PORT_IN_USE, E_PERMISSION and the like; what the first workers throw.
 */
export async function startPrimary(options: {
  config: CacheServeConfig;
  readConfig: () => Promise<CacheServeConfig>;
  log: Logger;
}): Promise<Primary> {
  const { config, log, readConfig } = options;
  const { dir: directory, listen } = config;
  await using opened = new AsyncDisposableStack();
  const lock = await takeCacheDirectory(directory);
  opened.defer(() => lock.release());
  const socket = await listenAfterOrphans(directory, listen, log);
  opened.defer(() => socket.close());
  const keeper = new LocalKeeper({ directory, maxBytes: config.maxStoreBytes, log });
  await keeper.load();

  const startedMs = performance.now();
  const sum = new StatsSum();
  let restarting: Promise<unknown> = Promise.resolve();
  let waiting: Promise<{ processes: number }> | undefined;
  const calls: PrimaryCalls = {
    kept: (sha256, bytes) => keeper.kept(sha256, bytes),
    used: sha256 => keeper.used(sha256),
    lost: sha256 => keeper.lost(sha256),
    pin: (view, sha256s) => keeper.pin(view, sha256s),
    makeRoom: bytes => keeper.makeRoom(bytes),
    totals: async () => (await stats()).total,
    lastWords: (pid, last) => sum.heard(pid, last),
  };
  const pool = new WorkerPool({
    fork: number => {
      const worker = new WorkerProcess({ number, listeningFd: socket.fd, primary: calls });
      void worker.ended.then(() => {
        sum.ended(worker.pid ?? 0);
        return keeper.clearIncoming();
      });
      return worker;
    },
    log,
    clock: systemClock,
  });
  keeper.onForgotten(objects => {
    for (const { calls: worker } of pool.workers) worker.tell('forget', objects);
  });

  const stats = async (): Promise<AllStats> => {
    const { workers, planned, replaced } = pool;
    const answers = await Promise.allSettled(workers.map(worker => worker.calls.ask('stats', STATS_MS)));
    const processes = answers.flatMap((answer, index) =>
      answer.status === 'fulfilled' ? { pid: workers[index]!.pid!, stats: answer.value } : [],
    );
    const here = new Set(pool.workers.map(({ pid }) => pid));
    for (const { pid, stats: own } of processes) if (here.has(pid)) sum.heard(pid, own);
    const total = sum.total();
    if (total === undefined) throw nobodyAnswers(directory);
    const upSeconds = Math.round((performance.now() - startedMs) / 1000);
    const missing = planned - processes.length;
    return { total: { ...total, upSeconds, disk: keeper.usage(), missing, replaced }, processes };
  };

  const control: Control = {
    stats,
    purge: what => purge(directory, keeper, what),
    verify: (onProgress, signal) => verifyObjects({ directory, keeper, onProgress, signal }),
    drain: async undo => {
      log.warn({ outOfService: !undo }, undo ? 'in service again' : 'out of service on request');
      pool.outOfService(!undo);
    },
    // One that runs has read its configuration; all who ask meanwhile share another one after it.
    restart: () => (waiting ??= restarting.then(restart)),
  };

  function restart(): Promise<{ processes: number }> {
    waiting = undefined;
    const restarted = restartNow();
    restarting = restarted.catch(() => undefined);
    return restarted;
  }

  async function restartNow(): Promise<{ processes: number }> {
    const next = await readConfig();
    if (next.dir !== directory || next.listen !== listen) throw notInARestart(next);
    log.info({ processes: next.processes }, 'restarting');
    await pool.run(planOf(next));
    await keeper.resize(next.maxStoreBytes);
    log.info({ processes: next.processes }, 'restarted');
    return { processes: next.processes };
  }

  const controlSocket = await openControlSocket(directory, control, log);
  opened.defer(() => controlSocket.close());
  opened.defer(() => pool.end());
  await pool.run(planOf(config));
  const rest = opened.move();
  return {
    url: socket.url,
    restart: () => control.restart(),
    reopenLogs: () => {
      for (const { calls: worker } of pool.workers) worker.tell('reopenLog');
    },
    close: () => rest.disposeAsync(),
  };
}

/** Workers whose primary was killed end within two seconds, and have its address until then. */
async function listenAfterOrphans(directory: string, listen: string, log: Logger): Promise<ListeningSocket> {
  // A cache that ends in order takes its socket away.
  const orphans = existsSync(join(directory, 'control'));
  const untilMs = performance.now() + ORPHANS_MS;
  for (let tries = 0; ; tries += 1) {
    try {
      return await openListeningSocket(listen);
    } catch (error) {
      const { code } = error as Partial<PilotageError>;
      if (!orphans || code !== 'E_PORT_IN_USE' || performance.now() > untilMs) throw error;
      if (tries === 0) log.info({ listen }, 'waiting for the workers of a cache that was killed');
      await systemClock.sleep(LOOK_MS);
    }
  }
}

function planOf(config: CacheServeConfig): PoolPlan {
  const { connectSeconds, headerWaitSeconds, stallSeconds, totalSeconds } = config;
  const { idleSeconds, headerSeconds, maxConnections } = config;
  const options: WorkerOptions = {
    upstreams: config.upstreams,
    siblings: config.siblings,
    ...(config.allowedOrigins && { allowedOrigins: config.allowedOrigins }),
    directory: config.dir,
    memoryBytes: config.memoryBytes,
    maxMemoryObjectBytes: config.maxMemoryObjectBytes ?? Math.floor(config.memoryBytes / 2),
    maxStoreBytes: config.maxStoreBytes,
    maxObjectBytes: config.maxObjectBytes,
    maxMetadataBytes: config.maxMetadataBytes,
    timeouts: { connectSeconds, headerSeconds: headerWaitSeconds, stallSeconds, totalSeconds },
    limits: { idleSeconds, headerSeconds, maxConnections },
    ...(config.accessLog !== undefined && { accessLog: config.accessLog }),
  };
  return { count: config.processes, options, drainSeconds: config.drainSeconds };
}

const nobodyAnswers = (where: string) =>
  libError({
    code: 'E_TIMEOUT',
    message: 'No process of the cache says what it counted.',
    where,
    fix: 'The log says whether its processes end.',
  });

const notInARestart = ({ dir, listen }: CacheServeConfig) =>
  codecacheError({
    code: 'E_NOT_IN_A_RESTART',
    message: 'The directory and the address of a cache do not change while it runs.',
    where: 'dir, listen',
    found: `${dir}, ${listen}`,
    fix: 'Stop the cache and start it again.',
  });
