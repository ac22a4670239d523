import type { EngineSnapshot } from '../engines/engine.ts';
import { dueWithdrawals, markWithdrawn, settleUsed } from '../ledger/withdrawals.ts';
import { openBatches } from '../ledger/open-batches.ts';
import { livePilots, pilotById } from '../ledger/pilots.ts';
import { transaction } from '../ledger/transaction.ts';
import type { ServerSubmission } from '../server-port.ts';
import type { CycleContext } from './context.ts';

/** Most that one request may give back. */
const WITHDRAW_CHUNK = 1000;

/**
 * What the server says of this factory's submissions: all pages while orphans are possible, else only until every pilot
 * that has not ended was seen.
 */
export async function listSubmissions(context: CycleContext): Promise<Map<string, ServerSubmission>> {
  const { db } = context.ledger;
  const seen = new Map<string, ServerSubmission>();
  const sought = new Set(livePilots(db).map(row => row.submissionId));
  if (sought.size === 0 && !context.memory.orphansPossible) return seen;
  for await (const page of context.server.listSubmissions(context.signal)) {
    for (const submission of page) {
      seen.set(submission.submissionId, submission);
      sought.delete(submission.submissionId);
    }
    if (sought.size === 0 && !context.memory.orphansPossible) break;
  }
  return seen;
}

/**
 * Gives back, at the server, submissions that nobody can use: of pilots that ended or were never started, and those that
 * the server gave in an answer that never arrived. Only while no such answer is outstanding.
 */
export async function withdrawUnused(
  context: CycleContext,
  snapshot: EngineSnapshot | null,
  submissions: ReadonlyMap<string, ServerSubmission>,
): Promise<number> {
  const { db } = context.ledger;
  transaction(db, () => settleUsed(db));
  let withdrawn = 0;
  for (;;) {
    const due = dueWithdrawals(db, WITHDRAW_CHUNK);
    if (due.length === 0) break;
    await context.server.withdraw(due, context.signal);
    await context.checkpoint('withdrawn-at-server');
    transaction(db, () => markWithdrawn(db, due));
    withdrawn += due.length;
  }
  return withdrawn + (await withdrawOrphans(context, snapshot, submissions));
}

async function withdrawOrphans(
  context: CycleContext,
  snapshot: EngineSnapshot | null,
  submissions: ReadonlyMap<string, ServerSubmission>,
): Promise<number> {
  const { db } = context.ledger;
  if (!context.memory.orphansPossible || snapshot === null || !snapshot.complete) return 0;
  if (openBatches(db).some(batch => batch.state !== 'submitting')) return 0;
  const atEngine = new Set(snapshot.jobs.map(job => job.submissionId));
  const orphans = [...submissions.values()]
    .filter(({ submissionId, state }) => state === 'open' && !atEngine.has(submissionId))
    .filter(({ submissionId }) => pilotById(db, submissionId) === undefined)
    .map(({ submissionId }) => submissionId);
  for (let start = 0; start < orphans.length; start += WITHDRAW_CHUNK) {
    await context.server.withdraw(orphans.slice(start, start + WITHDRAW_CHUNK), context.signal);
  }
  if (orphans.length > 0) {
    context.log.warn({ submissions: orphans.length }, 'gave back submissions that the ledger does not know');
  }
  if (context.clock.now() >= context.memory.orphansUntilMs) context.memory.orphansPossible = false;
  return orphans.length;
}
