import { wireError } from '../../lib/problem.ts';
import type { ReleaseRef } from '../../lib/protocol/release.ts';
import { findPilot } from '../queries/find-pilot.ts';
import type { AttemptRow, PilotRow } from '../schema.ts';
import type { ServerContext, Trx } from './context.ts';
import type { Verdict } from './release-state.ts';

/** A release that a pilot runs and that its managers took back. */
export interface Revoked {
  version: string;
  verdict: Exclude<Verdict, 'good'>;
}

/**
 * Whether a pilot runs a revoked release: by what it enrolled with, and by what it says now; the worse of both counts.
 *
 * @param named what the call at hand says, if it says something.
 */
export function revokedRelease(
  { releases }: Pick<ServerContext, 'releases'>,
  pilot: Pick<PilotRow, 'queue' | 'release_json'>,
  named: ReleaseRef | null = null,
): Revoked | undefined {
  const enrolled = pilot.release_json === null ? null : releaseRefOf(pilot.release_json);
  const seen = [enrolled, named]
    .filter(release => release !== null)
    .map(({ version }) => ({ version, verdict: releases.judge(version, pilot.queue) }));
  const revoked = seen.filter((one): one is Revoked => one.verdict !== 'good');
  return revoked.find(({ verdict }) => verdict === 'killed') ?? revoked[0];
}

/** The killed release of an attempt: of its pilot, or that its pilot named when it took the job. */
export async function killedReleaseOf(
  context: Pick<ServerContext, 'releases'>,
  trx: Trx,
  attempt: Pick<AttemptRow, 'pilot_id' | 'release_json'>,
): Promise<Revoked | undefined> {
  if (context.releases.killed().length === 0) return undefined;
  const pilot = await findPilot(trx, attempt.pilot_id);
  const named = attempt.release_json === null ? null : releaseRefOf(attempt.release_json);
  const revoked = pilot && revokedRelease(context, pilot, named);
  return revoked?.verdict === 'killed' ? revoked : undefined;
}

export const revocationText = ({ version }: Revoked): string => `the release ${version} was revoked`;

/** A release as the database keeps it, which was checked when it came. */
export const releaseRefOf = (json: string): ReleaseRef => JSON.parse(json) as ReleaseRef;

/** @throws E_RELEASE_REVOKED */
export function requireReleaseInForce(
  context: Pick<ServerContext, 'releases'>,
  queue: string,
  release: ReleaseRef | null,
): void {
  if (release === null || context.releases.judge(release.version, queue) === 'good') return;
  throw wireError('E_RELEASE_REVOKED', `The release ${release.version} was withdrawn by its managers.`, {
    where: 'body.release',
    rule: 'revoked-releases-get-no-jobs',
    found: `version ${release.version}, serial ${release.channelSerial ?? 'none'} of channel ${release.channel ?? 'none'}`,
    fix: 'End; if the caches of this site still give this release, they are behind the code store.',
  });
}
