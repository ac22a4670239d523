import type { Clock } from '../lib/clock.ts';

/**
 * Runs `work` every now and then, for as long as `signal` is not aborted: first after about `everySeconds`, each pause half
 * as long to one and a half times as long, so that the pilots of a batch spread out.
 *
 * @param work never throws.
 */
export async function keepUp(
  options: { everySeconds: number; clock: Clock; signal: AbortSignal },
  work: () => Promise<void>,
): Promise<void> {
  const { everySeconds, clock, signal } = options;
  while (!signal.aborted) {
    const pauseMs = everySeconds * 1000 * (0.5 + Math.random());
    await clock.sleep(pauseMs, signal).catch(() => undefined);
    if (!signal.aborted) await work();
  }
}
