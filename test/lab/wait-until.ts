import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Polls until `probe` returns something truthy and returns that; for tests instead of sleeping. A probe that throws
 * counts as "not yet".
 *
 * @throws Error after the deadline, naming `what` and the last thing the probe threw.
 */
export async function waitUntil<T>(
  what: string,
  probe: () => T | Promise<T>,
  options: { seconds?: number; everyMilliseconds?: number } = {},
): Promise<NonNullable<T>> {
  const seconds = options.seconds ?? 10;
  const deadline = performance.now() + seconds * 1000;
  for (;;) {
    let last: unknown;
    try {
      const value = await probe();
      if (value) return value;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      const because = last === undefined ? '' : `: ${(last as Error).message}`;
      throw new Error(`gave up after ${seconds} s waiting until ${what}${because}`, { cause: last });
    }
    await sleep(options.everyMilliseconds ?? 20);
  }
}
