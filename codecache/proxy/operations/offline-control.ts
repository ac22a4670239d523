import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError, libError } from '../../../lib/errors.ts';
import { silentLog } from '../../../lib/log.ts';
import { purgeAnswers } from '../metadata/answer-store.ts';
import { LocalKeeper } from '../objects/local-keeper.ts';
import { verifyObjects } from '../objects/verify-objects.ts';
import type { VerifyProgress } from '../objects/verify-objects.ts';
import { takeCacheDirectory } from './cache-directory.ts';
import type { Purge, Purged } from './control-socket.ts';

/** Removes what a purge names from a directory and from the memory of whoever listens to its keeper. */
export async function purge(directory: string, keeper: LocalKeeper, what: Purge): Promise<Purged> {
  const objects =
    'object' in what ? await keeper.purge([what.object]) : 'all' in what ? await keeper.purge() : [];
  const answers = 'object' in what ? 0 : await purgeAnswers(directory);
  return { objects: objects.length, answers };
}

/**
 * Runs `work` on the directory of a cache that does not run; none can start meanwhile.
 *
 * @throws E_FILE_MISSING where no cache ever was, E_DIRECTORY_IN_USE when one runs after all.
 */
async function withStoppedCache<T>(directory: string, work: (keeper: LocalKeeper) => Promise<T>): Promise<T> {
  for (const part of ['objects', 'answers'])
    await access(join(directory, part)).catch(error => {
      const named = fromSystemError(error, directory);
      throw named.code === 'E_FILE_MISSING' ? noCache(directory, part) : named;
    });
  const lock = await takeCacheDirectory(directory);
  try {
    const keeper = new LocalKeeper({ directory, maxBytes: Number.MAX_SAFE_INTEGER, log: silentLog });
    await keeper.load();
    return await work(keeper);
  } finally {
    lock.release();
  }
}

export const purgeStopped = (directory: string, what: Purge): Promise<Purged> =>
  withStoppedCache(directory, keeper => purge(directory, keeper, what));

export const verifyStopped = (
  directory: string,
  onProgress: (progress: Readonly<VerifyProgress>) => void,
): Promise<VerifyProgress> =>
  withStoppedCache(directory, keeper => verifyObjects({ directory, keeper, onProgress }));

const noCache = (where: string, part: string) =>
  libError({
    code: 'E_FILE_MISSING',
    message: 'No cache ever ran on this directory.',
    where,
    expected: 'the directory of a "pilotage cache serve", with objects/ and answers/',
    found: `no ${part}/`,
    fix: 'Give the directory that the cache was started with (--dir).',
  });
