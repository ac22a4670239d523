import type { Executor, QueueRow } from '../schema.ts';

/** One queue by name, retired ones too. */
export const findQueue = (db: Executor, name: string): Promise<QueueRow | undefined> =>
  db
    .selectFrom('queue')
    .select(['name', 'vo', 'max_pilots', 'allow_containment', 'labels', 'retired'])
    .where('name', '=', name)
    .executeTakeFirst();
