import type { Clock } from '../../lib/clock.ts';
import { PilotageError, libError, partsOf } from '../../lib/errors.ts';
import type { Refusal } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { signingError } from '../../signing/errors.ts';
import { cachesOf } from '../http/cache-group.ts';
import type { Source } from './download.ts';
import type { PathHealth } from './path-health.ts';

/** Not the cache's doing: another cache cannot help. */
const FINAL = /^E_(CLOCK|STORE_|ARCH_|DISK_FULL|PERMISSION|FILE_|ABORTED)/;
/** What is wrong with bytes that were signed is no lie of the cache that gave them. */
const SIGNED = /^E_(CHANNEL_(YANKED|HALTED|MISMATCH)|TARGET_UNKNOWN|ARCHIVE_UNSAFE)$/;

export interface PathOptions {
  /** Groups in order; `http://a|http://b` is one group. */
  caches: readonly string[];
  health: PathHealth;
  /** How long to go on when no cache answers. 0: every cache is tried once. */
  patienceSeconds: number;
  clock: Clock;
  log: Logger;
  signal?: AbortSignal | undefined;
}

/**
 * Tries the whole of `attempt` through one cache after the other, so that one refresh never mixes two caches' views. A
 * refusal is tried once more past the same cache (Cache-Control: no-cache) before the next, and that cache is then left
 * alone; one that cannot be reached, stalls or is overloaded is left at once and rests. When none is left, those that
 * could not be reached are tried again for as long as patience lasts. A cache that is not listed is never asked.
 *
 * @returns what the attempt gave, and every cache that was refused on the way.
 * @throws the last refusal, or E_CACHE_UNREACHABLE when no cache answered at all; `refusals` names each cache that lied.
 */
export async function throughPaths<T>(
  options: PathOptions,
  attempt: (source: Source) => Promise<T>,
): Promise<{ value: T; refusals: Refusal[] }> {
  const { caches, health, clock, log, signal } = options;
  const deadlineMs = clock.monotonic() + options.patienceSeconds * 1000;
  const refusals: Refusal[] = [];
  const refused = new Set<string>();
  let worst: PilotageError | undefined;

  const judge = (error: unknown, { cache, noCache }: Source): PilotageError => {
    if (!(error instanceof PilotageError) || signal?.aborted === true) throw error;
    const { code, where = cache, found } = error;
    log.warn({ cache, noCache, code, where, found }, 'refused through this cache');
    const unreachable = code === 'E_CACHE_UNREACHABLE';
    if (!unreachable || worst === undefined) worst = error;
    if (FINAL.test(code)) throw withRefusals(error, refusals);
    if (
      !unreachable &&
      !SIGNED.test(code) &&
      !refusals.some(known => isSame(known, { cache, code, where }))
    ) {
      refusals.push({ cache, code, where });
    }
    return error;
  };

  for (;;) {
    for (const cache of health.order(caches).filter(cache => !refused.has(cache))) {
      for (const noCache of [false, true]) {
        try {
          const value = await attempt({ cache, noCache });
          health.worked(cache, caches);
          return { value, refusals };
        } catch (error) {
          const { code, retryAfterSeconds } = judge(error, { cache, noCache });
          if (code === 'E_CACHE_UNREACHABLE') {
            health.failed(cache, retryAfterSeconds);
            break;
          }
          if (noCache) refused.add(cache);
        }
      }
    }
    const left = caches.flatMap(cachesOf).filter(cache => !refused.has(cache));
    const waitMs = Math.max(0, Math.min(...left.map(cache => health.restsMs(cache))));
    if (left.length === 0 || clock.monotonic() + waitMs > deadlineMs) {
      throw withRefusals(worst ?? nothingToAsk(caches, waitMs), refusals);
    }
    log.info({ waitMs: Math.ceil(waitMs), caches: left }, 'no cache answered; trying again');
    await clock.sleep(waitMs, signal);
  }
}

const isSame = (a: Refusal, b: Refusal): boolean =>
  a.cache === b.cache && a.code === b.code && a.where === b.where;

function withRefusals(error: PilotageError, refusals: readonly Refusal[]): PilotageError {
  if (refusals.length === 0) return error;
  return new PilotageError({ ...partsOf(error), refusals, cause: error });
}

function nothingToAsk(caches: readonly string[], waitMs: number): PilotageError {
  if (caches.length === 0) {
    return libError({
      code: 'E_USAGE',
      message: 'No cache is given.',
      where: '--cache',
      fix: 'Name at least one.',
    });
  }
  const seconds = Math.ceil(waitMs / 1000);
  return signingError({
    code: 'E_CACHE_UNREACHABLE',
    message: 'No cache is to be asked now: all failed a moment ago.',
    where: caches.join(', '),
    found: `the first may be asked again in ${seconds} s`,
    retryAfterSeconds: seconds,
    fix: 'Wait, or list another cache.',
  });
}
