import { PilotageError } from '../lib/errors.ts';
import type { CycleContext } from './cycle/context.ts';
import { runCycle } from './cycle/run-cycle.ts';
import type { CycleReport } from './cycle/run-cycle.ts';

/** Longest pause between cycles while the server does not answer, or a cycle fails. */
const MAX_PAUSE_SECONDS = 60;

export interface LoopOptions {
  once?: boolean;
  /** Called after the first cycle. */
  onReady?: (first: CycleReport) => void;
}

/**
 * Runs cycles until the context's signal aborts (it returns then), or once. A cycle that fails is logged and tried again,
 * with pauses that double up to a minute; nothing is submitted on the strength of a failed one.
 *
 * @throws with `once`: what kept the cycle from reading server or engine.
 */
export async function runLoop(context: CycleContext, options: LoopOptions = {}): Promise<void> {
  let failures = 0;
  let ready = false;
  while (!context.signal.aborted) {
    try {
      const report = await runCycle(context);
      if (options.once && report.failure !== null) throw report.failure;
      failures = report.serverAnswered ? 0 : failures + 1;
      if (!ready) options.onReady?.(report);
      ready = true;
    } catch (error) {
      if (context.signal.aborted) return;
      if (options.once) throw error;
      failures += 1;
      const reason =
        error instanceof PilotageError ? { code: error.code, where: error.where } : { err: error };
      context.log.error({ ...reason, failures }, `cycle failed: ${(error as Error).message}`);
    }
    if (options.once) return;
    await pause(context, failures);
  }
}

async function pause({ clock, config, signal }: CycleContext, failures: number): Promise<void> {
  const longest = Math.max(config.cycleSeconds, MAX_PAUSE_SECONDS);
  const seconds = Math.min(longest, config.cycleSeconds * 2 ** Math.min(failures, 20));
  try {
    await clock.sleep(seconds * 1000, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
