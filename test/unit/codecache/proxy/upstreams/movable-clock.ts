import type { Clock } from '../../../../../lib/clock.ts';

export interface MovableClock extends Clock {
  /** Moves both clocks on; sleepers that are due wake. */
  advance(milliseconds: number): Promise<void>;
}

/** A clock that stands still until it is moved. */
export function movableClock(): MovableClock {
  let time = 1_000_000;
  const sleepers = new Set<{ untilMs: number; wake: () => void }>();
  return {
    now: () => time,
    monotonic: () => time,
    sleep: (milliseconds, signal) =>
      new Promise((resolve, reject) => {
        const sleeper = {
          untilMs: time + milliseconds,
          wake: () => {
            sleepers.delete(sleeper);
            resolve();
          },
        };
        sleepers.add(sleeper);
        signal?.addEventListener('abort', () => {
          sleepers.delete(sleeper);
          reject(signal.reason as Error);
        });
      }),
    advance: async milliseconds => {
      time += milliseconds;
      for (const sleeper of sleepers) if (sleeper.untilMs <= time) sleeper.wake();
      await new Promise(resolve => setImmediate(resolve));
    },
  };
}
