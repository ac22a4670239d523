import type { Clock } from '../lib/clock.ts';

/** What `promise` gives within `milliseconds`, else undefined; leaves no timer behind. */
export async function within<T>(
  promise: Promise<T>,
  milliseconds: number,
  clock: Clock,
): Promise<T | undefined> {
  const done = new AbortController();
  const deadline = clock.sleep(milliseconds, done.signal).catch(() => undefined);
  try {
    return await Promise.race([promise, deadline.then(() => undefined)]);
  } finally {
    done.abort(new DOMException('done', 'AbortError'));
  }
}
