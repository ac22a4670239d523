import type { Clock } from '../../../lib/clock.ts';
import { PilotageError, type Refusal } from '../../../lib/errors.ts';
import { withRepositoryLock } from '../repository/repository-lock.ts';
import type { Storage } from '../storage/storage.ts';
import { copyPublic, type CopyResult } from './copy-public.ts';
import { isNeeded } from './may-expire.ts';
import type { PublicSource } from './public-source.ts';

export interface MirrorOptions {
  /** Asked in this order; whatever any of them has that is newer and right is taken. */
  sources: readonly PublicSource[];
  to: Storage;
  /** The pinned root. */
  trustedRoot: Uint8Array;
  clock: Clock;
  lockWaitSeconds?: number | undefined;
  onStep?: ((step: string) => void) | undefined;
}

export interface MirrorResult extends CopyResult {
  /** Sources that gave nothing, and why. */
  refusals: Refusal[];
}

/**
 * Brings a mirror up to its sources. A mirror never publishes a timestamp that it cannot back whole, nor goes back behind
 * what it has.
 *
 * @throws what {@link copyPublic} throws, of the last source and with all in `refusals`, when none gave a valid tree;
 * E_REPOSITORY_LOCKED.
 */
export const syncMirror = ({
  sources,
  to,
  clock,
  lockWaitSeconds,
  ...rest
}: MirrorOptions): Promise<MirrorResult> =>
  withRepositoryLock({ storage: to, clock, waitSeconds: lockWaitSeconds }, async () => {
    const refusals: Refusal[] = [];
    const results: CopyResult[] = [];
    let last: unknown;
    for (const from of sources) {
      try {
        results.push(
          await copyPublic({
            from,
            to,
            folder: 'public',
            clock,
            mayExpire: role => !isNeeded(role),
            ...rest,
          }),
        );
      } catch (error) {
        if (!(error instanceof PilotageError)) throw error;
        last = error;
        refusals.push({ cache: from.name, code: error.code, where: error.where ?? from.name });
      }
    }
    const newest = results.at(-1);
    if (newest) return { ...newest, ...whatChanged(results), refusals };
    const { message, ...parts } = last as PilotageError;
    throw new PilotageError({ ...parts, message, refusals, cause: last });
  });

const whatChanged = (results: readonly CopyResult[]): Pick<CopyResult, 'changed' | 'files'> => ({
  changed: results.some(result => result.changed),
  files: results.flatMap(result => result.files),
});
