import { sql } from 'kysely';
import type { Executor } from '../schema.ts';

/**
 * Pilots of a queue that enrolled with one of these versions and have not said that they left, or said so lately: those
 * that hold a place first, then the newest.
 */
export const listPilotsOfReleases = (
  db: Executor,
  filter: { queue: string; versions: readonly string[]; sinceMs: number; limit: number },
): Promise<{ submission_id: string; release_json: string | null }[]> =>
  db
    .selectFrom('pilot')
    .select(['submission_id', 'release_json'])
    .where('queue', '=', filter.queue)
    .where(eb => eb.or([eb('state', '=', 'working'), eb('ended_ms', '>=', filter.sinceMs)]))
    // The text is our own, without spaces: a version has letters, digits, dots, hyphens and underscores only.
    .where(eb =>
      eb.or(filter.versions.map(version => sql<boolean>`release_json like ${patternOf(version)} escape '!'`)),
    )
    .orderBy('state', 'desc')
    .orderBy('submission_id', 'desc')
    .limit(filter.limit)
    .execute();

const patternOf = (version: string): string => `%"version":"${version.replaceAll('_', '!_')}"%`;
