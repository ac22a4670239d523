import type { Executor } from '../schema.ts';

/** What the signed store said last, as JSON; undefined before any server verified it. */
export async function readReleaseState(db: Executor): Promise<string | undefined> {
  const row = await db
    .selectFrom('release_state')
    .select('state_json')
    .where('id', '=', 1)
    .executeTakeFirst();
  return row?.state_json;
}
