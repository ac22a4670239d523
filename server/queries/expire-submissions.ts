import type { Executor } from '../schema.ts';

/** Ends submissions that nobody enrolled within their validity. */
export async function expireSubmissions(db: Executor, atMs: number): Promise<number> {
  const result = await db
    .updateTable('submission')
    .set({ state: 'expired' })
    .where('state', '=', 'open')
    .where('valid_until_ms', '<', atMs)
    .executeTakeFirst();
  return Number(result.numUpdatedRows);
}
