import { libError } from '../../lib/errors.ts';
import type { CycleContext } from './context.ts';

/**
 * Waits for `work` no longer than a call may take.
 *
 * @throws E_TIMEOUT naming what was waited for; what was asked may still happen. Or the abort reason of the program.
 */
export async function withDeadline<T>(
  { config, clock, signal }: Pick<CycleContext, 'config' | 'clock' | 'signal'>,
  what: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const ended = new AbortController();
  const timeout = clock.sleep(config.callSeconds * 1000, AbortSignal.any([signal, ended.signal])).then(() => {
    over.abort();
    throw libError({
      code: 'E_TIMEOUT',
      message: `There was no answer within ${config.callSeconds} s.`,
      where: what,
      fix: 'See its log; raise callSeconds if it is only slow.',
    });
  });
  try {
    return await Promise.race([work(AbortSignal.any([signal, over.signal])), timeout]);
  } finally {
    ended.abort();
    timeout.catch(() => undefined);
  }
}
