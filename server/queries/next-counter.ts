import { sql } from 'kysely';
import type { Executor } from '../schema.ts';

/** The next value of a counter, which must exist; the row serialises those who ask at the same time. */
export async function nextCounter(db: Executor, name: string): Promise<number> {
  await db
    .updateTable('counter')
    .set({ next_value: sql<number>`next_value + 1` })
    .where('name', '=', name)
    .execute();
  const row = await db
    .selectFrom('counter')
    .select('next_value')
    .where('name', '=', name)
    .executeTakeFirstOrThrow();
  return row.next_value - 1;
}
