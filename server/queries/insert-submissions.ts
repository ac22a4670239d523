import type { Executor, SubmissionRow } from '../schema.ts';

/** Adds submission ids, 50 to a statement. */
export async function insertSubmissions(db: Executor, rows: readonly SubmissionRow[]): Promise<void> {
  for (let start = 0; start < rows.length; start += 50) {
    await db
      .insertInto('submission')
      .values(rows.slice(start, start + 50))
      .execute();
  }
}
