import { PilotageError } from '../../lib/errors.ts';
import { libError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import type { Source } from './download.ts';

/** Not the cache's doing: another cache cannot help. */
const FINAL = /^E_(CLOCK|STORE_|ARCH_|DISK_FULL|PERMISSION|ABORTED)/;

/**
 * Tries the whole of `attempt` through one cache after the other, so that one refresh never mixes two caches' views. A
 * refusal is tried once more past the same cache (Cache-Control: no-cache) before the next; a cache that cannot be
 * reached is left at once. Each refusal is logged with the cache's name.
 *
 * @throws the last refusal, or E_CACHE_UNREACHABLE when no cache answered at all.
 */
export async function throughCaches<T>(
  options: { caches: readonly string[]; log: Logger; signal?: AbortSignal | undefined },
  attempt: (source: Source) => Promise<T>,
): Promise<T> {
  let worst: PilotageError | undefined;
  for (const cache of options.caches) {
    for (const noCache of [false, true]) {
      try {
        return await attempt({ cache, noCache });
      } catch (error) {
        if (!(error instanceof PilotageError) || options.signal?.aborted === true) throw error;
        const { code, where, found } = error;
        options.log.warn({ cache, noCache, code, where, found }, 'refused through this cache');
        if (code !== 'E_CACHE_UNREACHABLE' || worst === undefined) worst = error;
        if (FINAL.test(code)) throw error;
        if (code === 'E_CACHE_UNREACHABLE') break;
      }
    }
  }
  throw (
    worst ??
    libError({ code: 'E_USAGE', message: 'No cache is given.', where: '--cache', fix: 'Name at least one.' })
  );
}
