import { sql } from 'kysely';
import type { AttemptRow, Executor } from '../schema.ts';

export type AttemptProgress = Pick<AttemptRow, 'state' | 'lease_until_ms'> &
  Partial<Pick<AttemptRow, 'usage_json' | 'tail_stdout' | 'tail_stderr'>>;

/** A heartbeat's effect on a running attempt. @returns whether it still runs. */
export async function renewAttempt(
  db: Executor,
  attemptId: string,
  progress: AttemptProgress,
): Promise<boolean> {
  const result = await db
    .updateTable('attempt')
    .set({ ...progress, heartbeats: sql<number>`heartbeats + 1` })
    .where('attempt_id', '=', attemptId)
    .where('ended_ms', 'is', null)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}
