import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../lib/log.ts';
import type { Bootstrap, ReleaseRef } from '../lib/protocol/release.ts';
import type { AskStore } from './release-watch.ts';

/** The code store as this pilot's wrapper left it: pinned root, caches, the store of the node. */
export interface StoreAccess {
  trustedRoot: Buffer;
  storeDirectory: string;
  caches: readonly string[];
  queue: string;
  site: string;
}

/**
 * Finds what the wrapper left beside `bootstrap.json`.
 *
 * @returns null, and says so once, where there is no pinned root or no node store: a pilot that was started by hand.
 */
export async function findStoreAccess(options: {
  sandbox: string;
  /** PILOTAGE_STORE, as the wrapper exports it. */
  storeDirectory?: string | undefined;
  bootstrap: Bootstrap;
  log: Logger;
}): Promise<StoreAccess | null> {
  const { sandbox, storeDirectory, bootstrap, log } = options;
  const file = join(sandbox, 'root.json');
  const trustedRoot = await readFile(file).catch(() => undefined);
  if (trustedRoot === undefined || storeDirectory === undefined) {
    const missing = trustedRoot === undefined ? file : 'PILOTAGE_STORE';
    log.warn({ missing }, 'not started by a wrapper: the code store is not asked about this release');
    return null;
  }
  const { caches, queue, site } = bootstrap;
  return { trustedRoot, storeDirectory, caches, queue, site };
}

/** A cache that is silent now may answer with the next question. */
const PATIENCE_SECONDS = 5;

/** Asks through the verified client, which is loaded with the first question: most pilots end before it. */
export function askStore(access: StoreAccess, release: ReleaseRef, log: Logger): AskStore {
  return async ({ floors, signal }) => {
    const { checkRelease } = await import('../codecache/client/check-release.ts');
    return checkRelease({
      ...access,
      floors,
      signal,
      log,
      mine: release.version,
      using: [release.sha256],
      patienceSeconds: PATIENCE_SECONDS,
    });
  };
}
