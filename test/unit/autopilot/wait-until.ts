import { setTimeout as pause } from 'node:timers/promises';

/** Polls until `probe` gives something truthy, and gives that; throws after the deadline. */
export async function waitUntil<T>(
  probe: () => Promise<T | false | undefined> | T | false | undefined,
  deadlineMs = 10_000,
): Promise<T> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const value = await probe();
    if (value !== false && value !== undefined) return value;
    if (performance.now() > end) throw new Error(`still not so after ${deadlineMs} ms: ${String(probe)}`);
    await pause(40);
  }
}
