import { randomBytes } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { fromSystemError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { removeTree } from '../../lib/remove-tree.ts';
import { storeContents } from './store-contents.ts';
import type { StoreEntry } from './store-contents.ts';

/** Quota of a node's store unless another is named: some twenty releases and a few runtimes. */
export const DEFAULT_STORE_BYTES = 2 * 2 ** 30;

export interface Pruned {
  removed: StoreEntry[];
  /** What is left of releases and objects, bytes; above the quota when all of it must stay. */
  bytes: number;
}

/**
 * Brings a node's store under its quota: what killed processes left behind goes first, then what was used least recently,
 * but nothing that a channel names, nothing used within the hour and nothing that is being made. The caller holds the
 * node lock. Each thing is renamed aside before it is removed, so that whoever looks sees it whole or not at all.
 *
 * @throws E_FILE_MISSING, E_PERMISSION naming the path.
 */
export async function pruneStore(options: {
  directory: string;
  maxBytes: number;
  clock: Clock;
  log: Logger;
}): Promise<Pruned> {
  const { directory, maxBytes, clock, log } = options;
  const entries = await storeContents(directory, clock.now());
  const kept = entries.filter(({ kind }) => kind !== 'leftover');
  let bytes = kept.reduce((sum, entry) => sum + entry.bytes, 0);
  const removable = kept
    .filter(({ keptBecause }) => keptBecause === null)
    .toSorted((a, b) => a.usedMs - b.usedMs);
  const removed = entries.filter(({ kind, keptBecause }) => kind === 'leftover' && keptBecause === null);
  for (const entry of removable) {
    if (bytes <= maxBytes) break;
    bytes -= entry.bytes;
    removed.push(entry);
  }
  for (const { path, kind } of removed) {
    await remove(directory, path);
    log.info({ path, kind }, 'removed from the node store');
  }
  if (bytes > maxBytes)
    log.warn({ bytes, maxBytes }, 'the node store stays above its quota: all of it is in use');
  return { removed, bytes };
}

async function remove(directory: string, path: string): Promise<void> {
  const aside = join(directory, `tmp.${process.pid}.${randomBytes(6).toString('hex')}`);
  try {
    await rename(join(directory, path), aside);
    await removeTree(aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      throw fromSystemError(error, join(directory, path));
  }
}
