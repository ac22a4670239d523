import { randomBytes } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { PilotageError, fromSystemError } from '../../lib/errors.ts';
import { signingError } from '../../signing/errors.ts';
import type { Source } from './download.ts';
import { takeNodeLock } from './node-lock.ts';
import type { NodeLock } from './node-lock.ts';
import type { NodeStore } from './node-store.ts';
import { refreshThrough } from './refresh.ts';
import type { RefreshOptions, View } from './refresh.ts';

/** As long as caches keep a timestamp: asking them again within it tells nothing new. The wrapper has the same. */
const RECENT_SECONDS = 30;
/** A pilot waits this long for another's refresh and then makes its own: what it writes is whole either way. */
const LOCK_WAIT_SECONDS = 30;
/** Times that others may refresh while this one waits for its turn; then it refreshes itself. */
const MAX_TURNS = 8;

/** What a view reports as its source when nothing was asked of a cache. */
export const LOCAL: Source = { cache: 'local', noCache: false };

/**
 * One verified view for `use`, asked for once per node: within 30 s of the last time that anybody on this node asked, by
 * what is kept, without a network; else through the source, by one process at a time. `noCache` asks past the node's own
 * memory too. `use` may run more than once and must leave nothing behind.
 *
 * @throws as {@link refreshThrough}, and what `use` throws.
 */
export async function viewOfNode<T>(
  options: RefreshOptions,
  source: Source,
  use: (view: View) => Promise<T>,
): Promise<T> {
  const { store, clock, signal } = options;
  const isKnown = (checked: string) => !source.noCache && isRecent(checked, clock);
  for (let turn = 1; ; turn += 1) {
    const seen = await lastChecked(store);
    if (isKnown(seen)) {
      const kept = await viewOfKept(options, use);
      if ('value' in kept) return kept.value;
    }
    const lock = await takeTurn(store, clock, signal);
    try {
      const now = await lastChecked(store);
      // Somebody refreshed meanwhile: that is read without keeping the others waiting.
      if (now !== seen && isKnown(now) && turn < MAX_TURNS) continue;
      const begunMs = clock.now();
      const { asked, outcome } = await refreshThrough(
        { ...options, checkedJustNow: isKnown(now) },
        source,
        async view => ({ asked: view.asked, outcome: await settle(use(view)) }),
      );
      if (asked) await noteChecked(store, begunMs);
      if ('value' in outcome) return outcome.value;
      throw outcome.reason;
    } finally {
      await lock?.release();
    }
  }
}

/** A view of what is kept, and nothing else; `reason` says what is missing, or what is refused of it. */
export async function viewOfKept<T>(
  options: RefreshOptions,
  use: (view: View) => Promise<T>,
): Promise<{ value: T } | { reason: PilotageError }> {
  const bytes = (source: Source, path: string) => Promise.reject(notKept(source, path));
  const kept = { ...options, checkedJustNow: true, downloads: { ...options.downloads, bytes } };
  try {
    return { value: await refreshThrough(kept, LOCAL, use) };
  } catch (error) {
    if (!(error instanceof PilotageError)) throw error;
    return { reason: error };
  }
}

const notKept = (source: Source, path: string) =>
  signingError({
    code: 'E_CACHE_UNREACHABLE',
    message: 'The file is not kept on this node.',
    where: `${source.cache}/${path}`,
    found: 'nothing',
  });

/** Undefined after a wait in vain: better two refreshes than none. */
async function takeTurn(
  store: NodeStore,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<NodeLock | undefined> {
  try {
    return await takeNodeLock({
      storeDirectory: store.directory,
      clock,
      signal,
      waitSeconds: LOCK_WAIT_SECONDS,
    });
  } catch (error) {
    if (error instanceof PilotageError && error.code === 'E_STORE_LOCKED') return undefined;
    throw error;
  }
}

const checkedFile = (store: NodeStore): string => join(store.metadataDirectory, 'checked');

/** When root and timestamp were last fetched and accepted on this node, epoch seconds; empty: not known. */
export const lastChecked = async (store: NodeStore): Promise<string> =>
  (await readFile(checkedFile(store), 'utf8').catch(() => '')).trim();

/** Not before it either: a clock that went back makes the file say nothing. */
function isRecent(checked: string, clock: Clock): boolean {
  const seconds = clock.now() / 1000 - Number(checked);
  return /^\d{1,12}$/.test(checked) && seconds >= 0 && seconds < RECENT_SECONDS;
}

/** Put in place whole, but not synced: that it is lost with the node's power costs one question. */
async function noteChecked(store: NodeStore, nowMs: number): Promise<void> {
  const file = checkedFile(store);
  const made = `${file}.${process.pid}.${randomBytes(6).toString('hex')}`;
  try {
    await writeFile(made, `${Math.floor(nowMs / 1000)}\n`, { mode: 0o600 });
    await rename(made, file);
  } catch (error) {
    await rm(made, { force: true });
    throw fromSystemError(error, file);
  }
}

type Settled<T> = { value: T } | { reason: unknown };

const settle = async <T>(work: Promise<T>): Promise<Settled<T>> => {
  try {
    return { value: await work };
  } catch (reason) {
    return { reason };
  }
};
