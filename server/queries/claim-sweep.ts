import type { Executor } from '../schema.ts';

/** A sweep this far ahead was noted by a clock that has since been put back. */
const AHEAD_MS = 60_000;

/**
 * Takes the turn to sweep, if nobody swept since `notSinceMs`; a time that is still to come does not count as a sweep, or a
 * database whose clock was put back would not be swept until it has caught up.
 *
 * @returns whether this server has the turn.
 */
export async function claimSweep(db: Executor, notSinceMs: number, atMs: number): Promise<boolean> {
  const result = await db
    .updateTable('service')
    .set({ swept_ms: atMs })
    .where('id', '=', 1)
    .where(where => where.or([where('swept_ms', '<=', notSinceMs), where('swept_ms', '>', atMs + AHEAD_MS)]))
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}
