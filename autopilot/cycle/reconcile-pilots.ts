import type { EngineJob, EngineSnapshot } from '../engines/engine.ts';
import { adoptBatch } from '../ledger/adopt-batch.ts';
import { changePilot } from '../ledger/change-pilot.ts';
import { insertPilot } from '../ledger/insert-pilot.ts';
import { noteMissing } from '../ledger/note-missing.ts';
import { noteServerState } from '../ledger/note-server-state.ts';
import { livePilots, lostPilots, pilotById } from '../ledger/pilots.ts';
import type { PilotRow } from '../ledger/pilots.ts';
import { transaction } from '../ledger/transaction.ts';
import type { ServerSubmission } from '../server-port.ts';
import type { CycleContext } from './context.ts';
import { judgeOutcome } from './judge-outcome.ts';
import { parseResultLine } from './result-line.ts';

const RESULT_SEARCH_BYTES = 65_536;
/** Complete looks in a row that must not show a pilot before it is given up. */
const MISSING_LOOKS = 2;

export interface Reconciled {
  /** Pilots that a complete snapshot should have shown and did not. */
  missing: number;
  ended: number;
  adopted: number;
}

/**
 * Brings the ledger to what engine and server say. `submissions` is null when the server did not answer: then nothing is
 * judged to have ended, because the server's word comes first; pilots go on to count.
 */
export async function reconcilePilots(
  context: CycleContext,
  snapshot: EngineSnapshot,
  submissions: ReadonlyMap<string, ServerSubmission> | null,
): Promise<Reconciled> {
  const { db } = context.ledger;
  const adopted = adoptUnknown(context, snapshot);
  if (submissions !== null) {
    transaction(db, () => submissions.forEach(submission => noteServerState(db, submission)));
  }
  const jobs = new Map(snapshot.jobs.map(job => [job.submissionId, job]));
  const reconciled: Reconciled = { missing: 0, ended: 0, adopted };
  for (const row of [...livePilots(db), ...lostPilots(db)]) {
    if (row.state === 'intent' || row.state === 'submitting') continue;
    const job = jobs.get(row.submissionId);
    if (job === undefined) {
      if (!snapshot.complete || row.state === 'lost') continue;
      reconciled.missing += 1;
      if (judgeMissing(context, row, submissions !== null)) reconciled.ended += 1;
    } else if (await follow(context, row, job, submissions !== null)) reconciled.ended += 1;
  }
  return reconciled;
}

/** Pilots the engine has and the ledger does not (an older ledger was restored): they count from now on. */
function adoptUnknown(context: CycleContext, snapshot: EngineSnapshot): number {
  const { db } = context.ledger;
  const unknown = snapshot.jobs.filter(job => pilotById(db, job.submissionId) === undefined);
  const nowMs = context.clock.now();
  transaction(db, () => {
    for (const { batchId, submissionId, nativeId } of unknown) {
      adoptBatch(db, batchId, nowMs);
      const note = 'found at the engine, not in the ledger';
      insertPilot(db, { submissionId, batchId, nativeId, state: 'queued', note, nowMs });
    }
  });
  return unknown.length;
}

/** @returns true when the pilot is found to have ended. */
async function follow(
  context: CycleContext,
  row: PilotRow,
  job: EngineJob,
  serverAnswered: boolean,
): Promise<boolean> {
  const { db } = context.ledger;
  const { submissionId } = row;
  const nowMs = context.clock.now();
  noteMissing(db, submissionId, 0);
  const change = (to: PilotRow['state'], note: string, more: object = {}) =>
    transaction(db, () => changePilot(db, { submissionId, to, note, nowMs, ...more }));
  if (job.state === 'running' && row.state !== 'running')
    change('running', job.note, { atMs: job.startedMs });
  if (job.state === 'queued' && row.state === 'lost') change('queued', 'it came back');
  if (job.state === 'queued' && isUseless(pilotById(db, submissionId)?.serverState ?? null)) {
    await context.engine.cancel([job], 'term');
  }
  if (job.state !== 'ended' || !serverAnswered) return false;
  if (row.state === 'queued' && job.startedMs !== null) change('running', job.note, { atMs: job.startedMs });
  const output = await context.engine.fetchLog(job, 'stdout', RESULT_SEARCH_BYTES);
  const result = parseResultLine(output.toString('utf8'));
  const seen = pilotById(db, submissionId);
  const outcome = judgeOutcome(job, result, {
    state: seen?.serverState ?? null,
    jobsDone: seen?.jobsDone ?? null,
  });
  change(outcome.state, outcome.note, {
    atMs: job.endedMs,
    exitCode: job.exitCode,
    resultCode: result?.code ?? null,
    resultMessage: result?.message ?? null,
  });
  context.log.info(
    { submissionId, batchId: row.batchId, outcome: outcome.state, note: outcome.note },
    'pilot ended',
  );
  return true;
}

/** A pilot that has not started and whose submission the server takes no more. */
const isUseless = (serverState: string | null): boolean =>
  serverState === 'expired' || serverState === 'withdrawn';

/** A pilot the engine does not know any more: given up after several looks, unless the server hears from it. */
function judgeMissing(context: CycleContext, row: PilotRow, serverAnswered: boolean): boolean {
  const { db } = context.ledger;
  const looks = row.missingLooks + 1;
  noteMissing(db, row.submissionId, looks);
  if (looks < MISSING_LOOKS || !serverAnswered) return false;
  const { serverState, jobsDone } = pilotById(db, row.submissionId) ?? row;
  if (serverState === 'enrolled') return false;
  const to = serverState !== 'ended' ? 'lost' : (jobsDone ?? 0) > 0 ? 'done' : 'done_empty';
  const note = `the engine does not show it any more; the server says ${serverState ?? 'nothing'}`;
  transaction(db, () =>
    changePilot(db, { submissionId: row.submissionId, to, note, nowMs: context.clock.now() }),
  );
  context.log.warn({ submissionId: row.submissionId, outcome: to }, 'pilot is missing at the engine');
  return true;
}
