import type { ReplyBody } from '../../lib/protocol.ts';
import { countPilotsByRelease } from '../queries/count-pilots-by-release.ts';
import { listPilotsOfReleases } from '../queries/list-pilots-of-releases.ts';
import type { ServerContext, Trx } from './context.ts';
import { releaseRefOf } from './revoked-release.ts';

const REMOVED_AT_ONCE = 1000;
/** Of one version there are many: what a pilot enrolled with names the versions of all metadata, too. */
const RELEASES_AT_ONCE = 500;

/**
 * Pilots of a queue whose release was killed, also those that say they left since `endedSinceMs`: a bounded number; more
 * come when these are gone.
 */
export async function killedPilots(
  { releases }: Pick<ServerContext, 'releases'>,
  trx: Trx,
  filter: { queue: string; endedSinceMs: number },
): Promise<ReplyBody<'demand'>['remove']> {
  const versions = new Set(releases.killed());
  if (versions.size === 0) return [];
  const killed = (await countPilotsByRelease(trx, filter))
    .map(({ release_json }) => release_json)
    .filter(json => json !== null)
    .filter(json => versions.has(releaseRefOf(json).version));
  if (killed.length === 0) return [];
  const pilots = await listPilotsOfReleases(trx, {
    ...filter,
    releases: killed.slice(0, RELEASES_AT_ONCE),
    limit: REMOVED_AT_ONCE,
  });
  return pilots.map(({ submission_id, release_json }) => ({
    submissionId: submission_id,
    release: releaseRefOf(release_json!).version,
  }));
}
