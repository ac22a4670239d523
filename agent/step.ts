import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';
import { agentError } from './errors.ts';

/**
 * Runs one named step of the pilot, logs its duration and outcome, and never waits for it longer than `maxSeconds`: the
 * pilot's own watchdog against being alive and stuck.
 *
 * @param run gets a signal that is aborted when the time is over, or when `signal` is.
 * @throws E_STEP_STUCK naming the step; else what `run` throws.
 */
export async function runStep<T>(
  name: string,
  options: { maxSeconds: number; clock: Clock; log: Logger; signal?: AbortSignal },
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { clock, log } = options;
  const started = clock.monotonic();
  const done = new AbortController();
  const overdue = new AbortController();
  const stuck = clock.sleep(options.maxSeconds * 1000, done.signal).then(
    () => {
      const error = agentError({
        code: 'E_STEP_STUCK',
        message: `The step ${name} did not end within ${options.maxSeconds} s.`,
        where: name,
        fix: 'See the pilot log for what it was waiting for.',
      });
      overdue.abort(error);
      throw error;
    },
    () => new Promise<never>(() => undefined),
  );
  const signal = options.signal ? AbortSignal.any([overdue.signal, options.signal]) : overdue.signal;
  try {
    const result = await Promise.race([run(signal), stuck]);
    log.info({ step: name, ms: Math.round(clock.monotonic() - started) }, 'step done');
    return result;
  } catch (error) {
    log.info({ step: name, ms: Math.round(clock.monotonic() - started), err: error }, 'step ended early');
    throw error;
  } finally {
    done.abort(new DOMException('done', 'AbortError'));
  }
}
