import type { Executor } from '../schema.ts';

/** Takes the turn to sweep, if nobody swept since `notSinceMs`. @returns whether this server has the turn. */
export async function claimSweep(db: Executor, notSinceMs: number, atMs: number): Promise<boolean> {
  const result = await db
    .updateTable('service')
    .set({ swept_ms: atMs })
    .where('id', '=', 1)
    .where('swept_ms', '<=', notSinceMs)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}
