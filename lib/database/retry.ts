import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../log.ts';
import { classifyDatabaseError } from './errors.ts';

const ATTEMPTS = 8;
/** No new attempt once this much time has gone into earlier ones. */
const MAX_MILLISECONDS = 30_000;
const FIRST_PAUSE_MILLISECONDS = 5;

/** Runs a whole transaction again after a serialization failure, deadlock or lock timeout, at most eight times. */
export async function withRetries<T>(log: Logger, work: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + MAX_MILLISECONDS;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      const again = attempt < ATTEMPTS && performance.now() < deadline;
      if (!again || classifyDatabaseError(error) !== 'try-again') throw error;
      log.debug({ attempt, error: (error as Error).message }, 'transaction runs again');
    }
    await sleep(FIRST_PAUSE_MILLISECONDS * 2 ** attempt * (0.5 + Math.random() / 2));
  }
}
