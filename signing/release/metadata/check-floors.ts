import type { Floors } from '../../../lib/protocol/release.ts';
import { signingError } from '../../errors.ts';
import type { TrustedMetadata } from './trusted-metadata.ts';

/** Local clocks may be this far behind the newest signed time, milliseconds; the wrapper allows the same. */
const CLOCK_TOLERANCE_MS = 300_000;

/**
 * Holds what a node has verified against what is known from elsewhere (the server, an earlier run): neither older than
 * these versions, nor signed in the future of this clock (design "Cold nodes know floors").
 *
 * Floors of timestamp and snapshot hold under the root that they were learned under, `floors.root`. A newer root may have
 * given these roles to other keys, because a thief had driven their versions up (TUF 1.0.31 section 5.3.11): under it
 * they begin anew. Only root keys make a newer root, so that no cache can lower a floor.
 *
 * @returns the newest signed time, epoch milliseconds. @throws E_TUF_STALE, E_CLOCK.
 */
export function checkFloors(trusted: TrustedMetadata, floors: Floors | null): number {
  const { root, timestamp, snapshot, nowMs } = trusted;
  const signedMs = timestamp.signed.unrecognizedFields['x-pilotage-signed-ms'];
  const newestMs = Math.max(typeof signedMs === 'number' ? signedMs : 0, floors?.signedTimeMs ?? 0);
  if (nowMs + CLOCK_TOLERANCE_MS < newestMs) {
    throw signingError({
      code: 'E_CLOCK',
      message: 'The clock of this machine is behind the time at which the metadata was signed.',
      where: trusted.where('timestamp', 0),
      expected: `at least ${new Date(newestMs).toISOString()}`,
      found: new Date(nowMs).toISOString(),
      fix: 'Set the clock of this machine.',
    });
  }
  for (const [role, { signed }] of Object.entries({ root, timestamp, snapshot })) {
    const least = leastOf(role as 'root' | 'timestamp' | 'snapshot', root.signed.version, floors);
    if (signed.version >= least) continue;
    throw signingError({
      code: 'E_TUF_STALE',
      message: `The ${role} is older than it is known to be.`,
      where: trusted.where(role, signed.version),
      expected: `version ${least} or later`,
      found: `version ${signed.version}`,
      fix: 'Use another cache: this one is behind or withholds the newer version.',
    });
  }
  return newestMs;
}

function leastOf(
  role: 'root' | 'timestamp' | 'snapshot',
  rootVersion: number,
  floors: Floors | null,
): number {
  if (floors === null || (role !== 'root' && rootVersion > floors.root)) return 0;
  return floors[role];
}
