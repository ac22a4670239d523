import type { ReplyBody } from '../../lib/protocol.ts';
import type { EngineJob, EngineSnapshot } from '../engines/engine.ts';
import { lastRemovalMs, noteRemoval } from '../ledger/removals.ts';
import { pilotById } from '../ledger/pilots.ts';
import type { CycleContext } from './context.ts';

/**
 * Ends the pilots whose release was killed, as the server lists them: each is asked once, with the reason in the ledger, and
 * ended by force when it is still there after `removeGraceSeconds`, again after each. Another factory's pilots are left to it.
 */
export async function removeRevoked(
  context: CycleContext,
  snapshot: EngineSnapshot,
  remove: ReplyBody<'demand'>['remove'],
): Promise<void> {
  const { db } = context.ledger;
  const nowMs = context.clock.now();
  const jobs = new Map(snapshot.jobs.map(job => [job.submissionId, job]));
  const asked: EngineJob[] = [];
  const forced: EngineJob[] = [];
  for (const { submissionId, release } of remove) {
    const job = jobs.get(submissionId);
    const pilot = pilotById(db, submissionId);
    if (job === undefined || pilot === undefined || job.state === 'ended') continue;
    const sinceMs = lastRemovalMs(db, submissionId);
    if (sinceMs !== null && nowMs - sinceMs < context.config.removeGraceSeconds * 1000) continue;
    const note = `its release ${release} was revoked${sinceMs === null ? '' : ', and it did not end when asked'}`;
    noteRemoval(db, pilot, { note, nowMs });
    (sinceMs === null ? asked : forced).push(job);
    context.log.warn({ submissionId, release, force: sinceMs !== null }, 'removing a pilot');
  }
  await context.checkpoint('removal-written');
  if (asked.length > 0) await context.engine.cancel(asked, 'term');
  if (forced.length > 0) await context.engine.cancel(forced, 'kill');
}
