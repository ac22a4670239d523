import type { Executor, QueueRow } from '../schema.ts';

/** All queues by name; there are as many as the configuration names. */
export const listQueues = (db: Executor): Promise<QueueRow[]> =>
  db
    .selectFrom('queue')
    .select(['name', 'vo', 'max_pilots', 'allow_containment', 'labels', 'retired'])
    .orderBy('name')
    .execute();
