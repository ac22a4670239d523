import type { Executor } from '../schema.ts';

/** Changes a submission's state if it still is `from`. @returns whether it was. */
export async function updateSubmissionState(
  db: Executor,
  submissionId: string,
  from: string,
  to: string,
  pilotId?: string,
): Promise<boolean> {
  const result = await db
    .updateTable('submission')
    .set({ state: to, ...(pilotId !== undefined && { pilot_id: pilotId }) })
    .where('submission_id', '=', submissionId)
    .where('state', '=', from)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}
