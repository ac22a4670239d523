import { systemClock } from '../../../lib/clock.ts';
import { createLog } from '../../../lib/log.ts';
import { serveCache } from '../serve-cache.ts';
import type { CacheServer } from '../serve-cache.ts';
import { LISTENING_FD } from './calls.ts';
import type { Farewell, PrimaryCalls, WorkerCalls } from './calls.ts';
import { Channel } from './channel.ts';
import { RemoteKeeper } from './remote-keeper.ts';

/**
 * A worker of `pilotage cache serve`: the program of the processes that its primary starts. It ends when the primary is
 * gone, however that ended; a SIGTERM of its own makes it finish what it does, and the primary replaces it.
 */

const TOTALS_MS = 1500;
/** There is no primary any more: another cache may want to start. */
const ORPHAN: Farewell = { drainSeconds: 1, idleSeconds: 0 };
const TERM: Farewell = { drainSeconds: 10, idleSeconds: 5 };
const LAST_WORDS_MS = 500;
/** Between looks for connections that are left. */
const LOOK_MS = 50;

process.title = `pilotage-cache ${process.argv[2] ?? ''}`;
const log = createLog('cache');
let server: CacheServer | undefined;
let ending: Promise<void> | undefined;

const calls = {
  start: async options => {
    server = await serveCache({
      ...options,
      listen: { fd: LISTENING_FD },
      log,
      keeper,
      totals: () => primary.ask('totals', TOTALS_MS),
    });
  },
  stats: () => server!.stats(),
  outOfService: out => server!.outOfService(out),
  reopenLog: () => void server!.reopenLog(),
  forget: objects => keeper.forget(objects),
  end: farewell => end(farewell),
} satisfies WorkerCalls;

const primary = new Channel<PrimaryCalls>(process, calls);
const keeper = new RemoteKeeper(primary, log);

function end(farewell: Farewell): Promise<void> {
  ending ??= drained(farewell).finally(() => process.exit());
  return ending;
}

async function drained({ drainSeconds, idleSeconds }: Farewell): Promise<void> {
  if (server === undefined) return;
  server.drain();
  const idleUntilMs = performance.now() + idleSeconds * 1000;
  while (server.connections() > 0 && performance.now() < idleUntilMs) await systemClock.sleep(LOOK_MS);
  await server.close(Math.max(0, drainSeconds - idleSeconds) * 1000);
  await primary.ask('lastWords', LAST_WORDS_MS, process.pid, server.stats()).catch(() => undefined);
}

process.on('disconnect', () => {
  setTimeout(() => process.exit(1), 2 * ORPHAN.drainSeconds * 1000);
  void end(ORPHAN);
});
process.on('SIGTERM', () => void end(TERM));
// The end of a terminal and Ctrl-C reach all processes of it; the primary says what they are to do.
process.on('SIGINT', () => undefined);
process.on('SIGHUP', () => undefined);
