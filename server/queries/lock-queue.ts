import { sql } from 'kysely';
import type { Executor, QueueRow } from '../schema.ts';
import { findQueue } from './find-queue.ts';

/**
 * Makes transactions that count against a queue's cap take turns: a write to its row, which every database serialises.
 * @returns the queue as it is once the turn is ours; undefined if there is none.
 */
export async function lockQueue(db: Executor, name: string): Promise<QueueRow | undefined> {
  await db
    .updateTable('queue')
    .set({ turn: sql<number>`turn + 1` })
    .where('name', '=', name)
    .execute();
  return findQueue(db, name);
}
