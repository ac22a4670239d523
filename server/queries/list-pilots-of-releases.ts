import type { Executor } from '../schema.ts';

/**
 * Pilots of a queue that enrolled with one of these releases and have not said that they left, or said so lately: those
 * that hold a place first, then the newest.
 *
 * @param filter.releases as they are kept, at most a few hundred.
 */
export const listPilotsOfReleases = (
  db: Executor,
  filter: { queue: string; releases: readonly string[]; endedSinceMs: number; limit: number },
): Promise<{ submission_id: string; release_json: string | null }[]> =>
  db
    .selectFrom('pilot')
    .select(['submission_id', 'release_json'])
    .where('queue', '=', filter.queue)
    .where('release_json', 'in', filter.releases)
    .where(eb => eb.or([eb('state', '=', 'working'), eb('ended_ms', '>=', filter.endedSinceMs)]))
    .orderBy('state', 'desc')
    .orderBy('submission_id', 'desc')
    .limit(filter.limit)
    .execute();
