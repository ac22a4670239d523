import type { Executor } from '../schema.ts';

/**
 * What the working pilots of a queue run, as they said it when they enrolled; with `endedSinceMs` also those that ended
 * since.
 */
export const countPilotsByRelease = (
  db: Executor,
  filter: { queue: string; endedSinceMs?: number },
): Promise<{ release_json: string | null; pilots: number }[]> =>
  db
    .selectFrom('pilot')
    .select(eb => ['release_json', eb.fn.countAll<number>().as('pilots')])
    .where('queue', '=', filter.queue)
    .where(eb => {
      const { endedSinceMs } = filter;
      const working = eb('state', '=', 'working');
      return endedSinceMs === undefined ? working : eb.or([working, eb('ended_ms', '>=', endedSinceMs)]);
    })
    .groupBy('release_json')
    .execute();
