import type { Executor, ServerTables } from '../schema.ts';

/** Adds lines to jobs' histories. */
export async function insertJobEvents(
  db: Executor,
  rows: readonly ServerTables['job_event'][],
): Promise<void> {
  for (let start = 0; start < rows.length; start += 200) {
    await db
      .insertInto('job_event')
      .values(rows.slice(start, start + 200))
      .execute();
  }
}
