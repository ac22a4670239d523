import type { Executor } from '../schema.ts';

/** Working pilots whose lease ran out before `atMs`; of one queue, or of all. */
export const listExpiredPilots = (
  db: Executor,
  filter: { atMs: number; queue?: string; limit: number },
): Promise<{ pilot_id: string; submission_id: string }[]> =>
  db
    .selectFrom('pilot')
    .select(['pilot_id', 'submission_id'])
    .where('state', '=', 'working')
    .where('lease_until_ms', '<', filter.atMs)
    .$if(filter.queue !== undefined, query => query.where('queue', '=', filter.queue!))
    .orderBy('lease_until_ms')
    .limit(filter.limit)
    .execute();
