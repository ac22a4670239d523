import type { Executor, JobRow } from '../schema.ts';

/** Adds jobs, 50 to a statement: below every database's limit of parameters. */
export async function insertJobs(db: Executor, rows: readonly JobRow[]): Promise<void> {
  for (let start = 0; start < rows.length; start += 50) {
    await db
      .insertInto('job')
      .values(rows.slice(start, start + 50))
      .execute();
  }
}
