import { sql } from 'kysely';
import { insertIfAbsent } from '../../lib/database/insert-if-absent.ts';
import type { Executor, ServerTables } from '../schema.ts';
import { readReleaseState } from './read-release-state.ts';

/**
 * Makes servers that learned something of the store take turns: a write to the one row, which every database serialises.
 *
 * @returns what is kept once the turn is ours; `first` where nothing was.
 */
export async function lockReleaseState(db: Executor, first: string): Promise<string> {
  await insertIfAbsent<ServerTables, 'release_state'>(db, 'release_state', { id: 1, state_json: first }, [
    'id',
  ]);
  await db
    .updateTable('release_state')
    .set({ turn: sql<number>`turn + 1` })
    .where('id', '=', 1)
    .execute();
  return (await readReleaseState(db)) ?? first;
}
