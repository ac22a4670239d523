import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PathHealth } from '../codecache/client/path-health.ts';
import type { Clock } from '../lib/clock.ts';
import { PilotageError } from '../lib/errors.ts';
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
  /** What this pilot has seen of the caches: one that is down is not found out at each question. */
  health: PathHealth;
  clock: Clock;
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
  clock: Clock;
  log: Logger;
}): Promise<StoreAccess | null> {
  const { sandbox, storeDirectory, bootstrap, clock, log } = options;
  const file = join(sandbox, 'root.json');
  const trustedRoot = await readFile(file).catch(() => undefined);
  if (trustedRoot === undefined || storeDirectory === undefined) {
    const missing = trustedRoot === undefined ? file : 'PILOTAGE_STORE';
    log.warn({ missing }, 'not started by a wrapper: the code store is not asked about this release');
    return null;
  }
  const { caches, queue, site } = bootstrap;
  return { trustedRoot, storeDirectory, caches, queue, site, health: new PathHealth({ clock }), clock };
}

/** A cache that is silent now may answer with the next question. */
const PATIENCE_SECONDS = 5;

/**
 * Asks through the verified client, which is loaded with the first question: most pilots end before it. Each question also
 * brings the node's store under its quota.
 */
export function askStore(access: StoreAccess, release: ReleaseRef, log: Logger): AskStore {
  return async ({ floors, signal }) => {
    const { checkRelease } = await import('../codecache/client/check-release.ts');
    const answer = await checkRelease({
      ...access,
      floors,
      signal,
      log,
      mine: release.version,
      using: [release.sha256],
      patienceSeconds: PATIENCE_SECONDS,
    });
    await makeRoom(access, log);
    return answer;
  };
}

/** Wrappers remove only what is old: where no client installs, the pilots are who keep the store under its quota. */
async function makeRoom({ storeDirectory, clock }: StoreAccess, log: Logger): Promise<void> {
  const { withNodeLock } = await import('../codecache/client/node-lock.ts');
  const { DEFAULT_STORE_BYTES, pruneStore } = await import('../codecache/client/prune-store.ts');
  const quota = { directory: storeDirectory, maxBytes: DEFAULT_STORE_BYTES, clock, log };
  try {
    await withNodeLock({ storeDirectory, clock, waitSeconds: 0 }, () => pruneStore(quota));
  } catch (error) {
    // Who holds the lock installs, or tidies; the next question comes.
    if (error instanceof PilotageError && error.code === 'E_STORE_LOCKED') return;
    log.warn({ err: error }, 'the node store could not be brought under its quota');
  }
}
