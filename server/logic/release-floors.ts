import type { Clock } from '../../lib/clock.ts';
import type { Database } from '../../lib/database/database.ts';
import { readFileBounded } from '../../lib/files.ts';
import type { Logger } from '../../lib/log.ts';
import type { Floors } from '../../lib/protocol/release.ts';
import { directoryReader } from '../../signing/release/metadata/read-public.ts';
import type { ServerConfig } from '../config/schema.ts';
import { lockReleaseState } from '../queries/lock-release-state.ts';
import { readReleaseState } from '../queries/read-release-state.ts';
import { writeReleaseState } from '../queries/write-release-state.ts';
import type { ServerTables } from '../schema.ts';
import { judgeVersion, mergeReleaseStates, ReleaseState } from './release-state.ts';
import type { Verdict } from './release-state.ts';
import { urlReader } from '../../signing/release/metadata/read-url.ts';
import { verifyStore } from './verify-store.ts';

/** What the signed code store says, as far as a server acts on it. */
export interface FloorSource {
  /** Least versions now in force; null until some were verified. */
  current(): Floors | null;
  /** Whether signed metadata was verified and is not expired; always so without a store. */
  fresh(): boolean;
  /** What the release managers say of a version that a pilot of this queue runs. */
  judge(version: string, queue: string): Verdict;
  /** Versions whose pilots are to end at once. */
  killed(): readonly string[];
  close(): Promise<void>;
}

/** For servers without a code store. */
export const noFloors: FloorSource = {
  current: () => null,
  fresh: () => true,
  judge: () => 'good',
  killed: () => [],
  close: async () => {},
};

/**
 * Reads and verifies the code store's signed metadata now and every `refreshSeconds`: a path to floors and revocations that
 * is not a cache. What was verified once, by any server of the instance, is kept in the database and is the least for the
 * next time; what cannot be verified changes nothing and is logged. A server that cannot reach the store knows what the
 * others learned.
 *
 * @throws E_FILE_MISSING and kin for the trusted root.
 */
export async function watchFloors(
  config: { store: NonNullable<ServerConfig['store']>; queues: readonly { name: string }[] },
  options: { database: Database<ServerTables>; clock: Clock; log: Logger },
): Promise<FloorSource> {
  const { store } = config;
  const { database, clock, log } = options;
  const trustedRoot = await readFileBounded(store.rootFile);
  const read = store.directory === undefined ? urlReader(store.url!) : directoryReader(store.directory);
  const where = store.directory ?? store.url!;
  const queues = config.queues.map(({ name }) => name);
  let state = await keptState(database);
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  const refresh = async () => {
    try {
      const nowMs = clock.now();
      const seen = await verifyStore(read, { where, trustedRoot, known: state, queues, nowMs, log });
      state = state ? mergeReleaseStates(state, seen) : seen;
    } catch (error) {
      log.error({ err: error, store: where }, 'signed metadata could not be verified; floors stay');
    }
    try {
      state = await shareState(database, state);
    } catch (error) {
      log.error({ err: error }, 'what the code store says could not be shared with the other servers');
    }
    if (!closed) timer = setTimeout(next, (state ? store.refreshSeconds : 1) * 1000);
  };
  let running = refresh();
  const next = () => {
    running = refresh();
  };
  await running;
  return {
    current: () => state?.floors ?? null,
    fresh: () => state !== null && clock.now() < state.freshUntilMs,
    judge: (version, queue) => (state ? judgeVersion(state, version, queue) : 'good'),
    killed: () => [...new Set(Object.values(state?.channels ?? {}).flatMap(({ kill }) => kill))],
    close: async () => {
      closed = true;
      clearTimeout(timer);
      await running;
    },
  };
}

async function keptState(database: Database<ServerTables>): Promise<ReleaseState | null> {
  const kept = await readReleaseState(database.db);
  return kept === undefined ? null : ReleaseState.parse(JSON.parse(kept));
}

/** Brings together what this server and the others know; writes only what is new. */
async function shareState(
  database: Database<ServerTables>,
  own: ReleaseState | null,
): Promise<ReleaseState | null> {
  const kept = await keptState(database);
  if (own === null) return kept;
  const text = JSON.stringify(own);
  if (kept && JSON.stringify(mergeReleaseStates(kept, own)) === JSON.stringify(kept)) return kept;
  return database.transaction(async trx => {
    const locked = ReleaseState.parse(JSON.parse(await lockReleaseState(trx, text)));
    const merged = mergeReleaseStates(locked, own);
    await writeReleaseState(trx, JSON.stringify(merged));
    return merged;
  });
}
