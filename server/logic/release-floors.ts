import type { Clock } from '../../lib/clock.ts';
import { readFileBounded } from '../../lib/files.ts';
import type { Logger } from '../../lib/log.ts';
import type { Floors } from '../../lib/protocol/release.ts';
import { directoryReader, readReleaseMetadata } from '../../signing/release/read-public.ts';
import { verifyMetadata } from '../../signing/release/verify-metadata.ts';
import type { ServerConfig } from '../config/schema.ts';
import { urlReader } from './release-store.ts';

/** Where floors of signed metadata come from. */
export interface FloorSource {
  /** Least versions now in force; null until some were verified. */
  current(): Floors | null;
  /** Whether signed metadata was verified and is not expired; always so without a store. */
  fresh(): boolean;
  close(): Promise<void>;
}

/** For servers without a code store. */
export const noFloors: FloorSource = { current: () => null, fresh: () => true, close: async () => {} };

/**
 * Reads and verifies the code store's signed metadata now and every `refreshSeconds`: a path to the floors that is not a
 * cache. What was verified once is the least for the next time, so that the store cannot go back; what cannot be verified
 * changes nothing and is logged.
 *
 * @throws E_FILE_MISSING and kin for the trusted root.
 */
export async function watchFloors(
  store: NonNullable<ServerConfig['store']>,
  options: { clock: Clock; log: Logger },
): Promise<FloorSource> {
  const { clock, log } = options;
  const trustedRoot = await readFileBounded(store.rootFile);
  const read = store.directory === undefined ? urlReader(store.url!) : directoryReader(store.directory);
  const where = store.directory ?? store.url!;
  let floors: Floors | null = null;
  let expiresMs = 0;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  const refresh = async () => {
    try {
      const bytes = await readReleaseMetadata(read, { where, trustedRoot });
      const verified = verifyMetadata(bytes, { nowMs: clock.now(), where, floors });
      floors = verified.floors;
      expiresMs = Math.min(...Object.values(verified.expiresMs));
    } catch (error) {
      log.error({ err: error, store: where }, 'signed metadata could not be verified; floors stay');
    }
    if (!closed) timer = setTimeout(next, (floors ? store.refreshSeconds : 1) * 1000);
  };
  let running = refresh();
  const next = () => {
    running = refresh();
  };
  await running;
  return {
    current: () => floors,
    fresh: () => floors !== null && clock.now() < expiresMs,
    close: async () => {
      closed = true;
      clearTimeout(timer);
      await running;
    },
  };
}
