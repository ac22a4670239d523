import type { Executor, QueueRow } from '../schema.ts';

/** Changes what the configuration says about a queue. */
export async function updateQueue(db: Executor, { name, ...row }: QueueRow): Promise<void> {
  await db.updateTable('queue').set(row).where('name', '=', name).execute();
}
