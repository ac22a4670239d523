import type { Executor } from '../schema.ts';

/** Notes that the service was alive at `atMs`, if nobody noted anything since `seenMs`. @returns whether it was us. */
export async function touchAlive(db: Executor, seenMs: number, atMs: number): Promise<boolean> {
  const result = await db
    .updateTable('service')
    .set({ alive_ms: atMs })
    .where('id', '=', 1)
    .where('alive_ms', '=', seenMs)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}
