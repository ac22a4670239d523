import { systemClock } from '../../../lib/clock.ts';
import { createLog } from '../../../lib/log.ts';
import { serveCache } from '../serve-cache.ts';
import type { CacheServer } from '../serve-cache.ts';
import { LISTENING_FD } from './calls.ts';
import type { PrimaryCalls, WorkerCalls } from './calls.ts';
import { Channel } from './channel.ts';
import { RemoteKeeper } from './remote-keeper.ts';

/**
 * A worker of `pilotage cache serve`: the program of the processes that its primary starts. It ends when the primary is
 * gone, however that ended; a SIGTERM of its own makes it finish what it does, and the primary replaces it.
 */

const TOTALS_MS = 1500;
/** For answers under way when there is no primary any more. */
const ORPHAN_SECONDS = 1;
const TERM_SECONDS = 10;
/** Keep-alive connections may end by themselves, with a last answer, before idle ones are closed. */
const LAST_ANSWER_MS = 500;

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
  forget: sha256s => keeper.forget(sha256s),
  end: seconds => end(seconds),
} satisfies WorkerCalls;

const primary = new Channel<PrimaryCalls>(process, calls);
const keeper = new RemoteKeeper(primary, log);

/** Answers under way have so many seconds; then the process ends. */
function end(seconds: number): Promise<void> {
  ending ??= drained(seconds).finally(() => process.exit());
  return ending;
}

async function drained(seconds: number): Promise<void> {
  if (server === undefined) return;
  server.drain();
  await systemClock.sleep(Math.min(LAST_ANSWER_MS, seconds * 1000));
  await server.close(seconds * 1000);
}

process.on('disconnect', () => {
  setTimeout(() => process.exit(1), ORPHAN_SECONDS * 1000 + LAST_ANSWER_MS);
  void end(ORPHAN_SECONDS);
});
process.on('SIGTERM', () => void end(TERM_SECONDS));
// The end of a terminal and Ctrl-C reach all processes of it; the primary says what they are to do.
process.on('SIGINT', () => undefined);
process.on('SIGHUP', () => undefined);
