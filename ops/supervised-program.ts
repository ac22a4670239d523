import { systemClock } from '../lib/clock.ts';
import type { Clock } from '../lib/clock.ts';
import { startProgram } from './program.ts';
import type { Program, ProgramOptions } from './program.ts';

/** Seconds before the first restart; doubled for each further one within ten minutes, up to a minute. */
const FIRST_RESTART_SECONDS = 1;
const MAX_RESTART_SECONDS = 60;
const CALM_MS = 600_000;

/**
 * Starts a program and starts it again whenever it ends without having been told to, with growing pauses.
 *
 * @param options.onRestart told each time, with why.
 * @throws as {@link startProgram}, for the first start only.
 */
export async function startSupervised(
  options: ProgramOptions & { clock?: Clock; onRestart?: (reason: string, seconds: number) => void },
): Promise<Program> {
  const clock = options.clock ?? systemClock;
  const stopping = new AbortController();
  let restarts = 0;
  let lastMs = clock.monotonic();
  let restarting: Promise<void> | undefined;

  const again = async (why: string): Promise<void> => {
    let reason = why;
    while (!stopping.signal.aborted) {
      restarts = clock.monotonic() - lastMs > CALM_MS ? 1 : restarts + 1;
      lastMs = clock.monotonic();
      const seconds = Math.min(FIRST_RESTART_SECONDS * 2 ** (restarts - 1), MAX_RESTART_SECONDS);
      options.onRestart?.(reason, seconds);
      try {
        await clock.sleep(seconds * 1000, stopping.signal);
        current = await startProgram({ ...options, onExit });
        return;
      } catch (error) {
        if (stopping.signal.aborted) return;
        reason = (error as Error).message;
      }
    }
  };
  const onExit: NonNullable<ProgramOptions['onExit']> = (code, signal) => {
    restarting = again(signal ?? `exit code ${code}`);
  };
  let current = await startProgram({ ...options, onExit });
  return {
    name: options.name,
    get pid() {
      return current.pid;
    },
    get ready() {
      return current.ready;
    },
    async stop(deadlineSeconds) {
      stopping.abort(new DOMException('stopping', 'AbortError'));
      await restarting;
      await current.stop(deadlineSeconds);
    },
  };
}
