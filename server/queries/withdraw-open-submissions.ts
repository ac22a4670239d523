import type { Executor } from '../schema.ts';

/**
 * Takes back submissions of one factory that were never enrolled.
 * @returns those of the given ids that are withdrawn now, by this call or an earlier one.
 */
export async function withdrawOpenSubmissions(
  db: Executor,
  queue: string,
  factory: string,
  submissionIds: readonly string[],
): Promise<string[]> {
  await db
    .updateTable('submission')
    .set({ state: 'withdrawn' })
    .where('submission_id', 'in', submissionIds)
    .where('queue', '=', queue)
    .where('factory', '=', factory)
    .where('state', '=', 'open')
    .execute();
  const rows = await db
    .selectFrom('submission')
    .select('submission_id')
    .where('submission_id', 'in', submissionIds)
    .where('queue', '=', queue)
    .where('factory', '=', factory)
    .where('state', '=', 'withdrawn')
    .orderBy('submission_id')
    .execute();
  return rows.map(row => row.submission_id);
}
