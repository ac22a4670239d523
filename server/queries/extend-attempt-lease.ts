import type { Executor } from '../schema.ts';

/** Lets a lease that is given out again begin anew. @returns whether the attempt still runs. */
export async function extendAttemptLease(
  db: Executor,
  attemptId: string,
  leaseUntilMs: number,
): Promise<boolean> {
  const result = await db
    .updateTable('attempt')
    .set({ lease_until_ms: leaseUntilMs })
    .where('attempt_id', '=', attemptId)
    .where('ended_ms', 'is', null)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}
