import { PilotageError } from '../../lib/errors.ts';
import { errorTable, isWireErrorCode } from '../../lib/error-table.ts';
import type { SubmitOutcome } from '../engines/engine.ts';
import { changePilot } from '../ledger/change-pilot.ts';
import { insertPilot } from '../ledger/insert-pilot.ts';
import type { BatchRow } from '../ledger/open-batches.ts';
import { pilotsOfBatch } from '../ledger/pilots.ts';
import { setBatchState } from '../ledger/set-batch-state.ts';
import { transaction } from '../ledger/transaction.ts';
import type { Granted } from '../server-port.ts';
import { renderSandbox } from '../spool/render-sandbox.ts';
import { expectOrphans } from './context.ts';
import type { CycleContext } from './context.ts';
import { withDeadline } from './deadline.ts';

/** How far a batch came: `stuck` batches stay as they are and are taken up again in the next cycle. */
export type Advance = { submitted: number; problem: string | null; stuck: boolean };

/**
 * Takes a batch from its written intention to the engine. Every step is safe to repeat: the server gives the same
 * submissions for the same key, files are written whole, and the engine takes a batch once. Also takes up again what a
 * crash or a lost answer left half way.
 */
export async function advanceBatch(context: CycleContext, batch: BatchRow): Promise<Advance> {
  let granted: Granted;
  try {
    granted = await withDeadline(context, `submission ids for batch ${batch.batchId}`, signal =>
      context.server.createSubmissions(
        { count: batch.requested, validSeconds: batch.validSeconds, idempotencyKey: batch.idempotencyKey },
        signal,
      ),
    );
  } catch (error) {
    return refusedOrUnknown(context, batch, error);
  }
  await context.checkpoint('submissions-created');
  writeRows(context, batch, granted);
  await context.checkpoint('rows-written');
  const submissionIds = pilotsOfBatch(context.ledger.db, batch.batchId)
    .filter(row => row.state === 'intent')
    .map(row => row.submissionId);
  try {
    await renderAll(context, batch, granted, submissionIds);
  } catch (error) {
    context.signal.throwIfAborted();
    const reason = `its files cannot be written: ${(error as Error).message}`;
    giveUp(context, batch.batchId, 'rejected', reason);
    return { submitted: 0, problem: reason, stuck: false };
  }
  transaction(context.ledger.db, () => {
    const nowMs = context.clock.now();
    setBatchState(context.ledger.db, { batchId: batch.batchId, to: 'submitting', nowMs });
    for (const submissionId of submissionIds) {
      changePilot(context.ledger.db, { submissionId, to: 'submitting', note: 'given to the engine', nowMs });
    }
  });
  await context.checkpoint('submitting-written');
  if (submissionIds.length === 0) {
    giveUp(context, batch.batchId, 'abandoned', 'the server gave no submissions');
    return { submitted: 0, problem: null, stuck: false };
  }
  const outcome = await submitToEngine(context, batch.batchId, submissionIds);
  await context.checkpoint('engine-submitted');
  return writeOutcome(context, batch.batchId, outcome);
}

function writeRows(context: CycleContext, batch: BatchRow, granted: Granted): void {
  const { db } = context.ledger;
  const nowMs = context.clock.now();
  const ids = granted.submissions.map(submission => submission.submissionId);
  transaction(db, () => {
    ids.forEach((submissionId, index) => {
      const wanted = index < batch.requested;
      insertPilot(db, {
        submissionId,
        batchId: batch.batchId,
        state: wanted ? 'intent' : 'unsubmitted',
        withdraw: wanted ? 'no' : 'due',
        note: wanted ? 'the server gave this submission' : 'the server gave more than was asked for',
        nowMs,
      });
    });
    for (const row of pilotsOfBatch(db, batch.batchId)) {
      if (row.state === 'intent' && !ids.includes(row.submissionId)) {
        const note = 'the server gave other submissions when it was asked again';
        changePilot(db, { submissionId: row.submissionId, to: 'unsubmitted', note, nowMs });
      }
    }
    setBatchState(db, { batchId: batch.batchId, to: 'granted', nowMs });
  });
}

async function renderAll(
  context: CycleContext,
  batch: BatchRow,
  granted: Granted,
  submissionIds: readonly string[],
): Promise<void> {
  for (const { submissionId, secret } of granted.submissions) {
    if (!submissionIds.includes(submissionId)) continue;
    await renderSandbox(
      context.spool,
      { batchId: batch.batchId, submissionId },
      {
        wrapper: context.wrapper,
        bootstrap: {
          ...context.bootstrap,
          schema: 1,
          instance: granted.instance,
          submissionId,
          secret,
          floors: granted.floors,
        },
      },
    );
    await context.checkpoint('sandbox-rendered');
  }
}

async function submitToEngine(
  context: CycleContext,
  batchId: string,
  submissionIds: string[],
): Promise<SubmitOutcome> {
  try {
    return await withDeadline(context, `batch ${batchId} at engine ${context.engine.name}`, signal =>
      context.engine.submit({ batchId, submissionIds }, signal),
    );
  } catch (error) {
    context.signal.throwIfAborted();
    return { outcome: 'unknown', reason: (error as Error).message };
  }
}

async function writeOutcome(
  context: CycleContext,
  batchId: string,
  outcome: SubmitOutcome,
): Promise<Advance> {
  if (outcome.outcome === 'unknown') {
    return { submitted: 0, problem: `batch ${batchId}: no answer: ${outcome.reason}`, stuck: true };
  }
  if (outcome.outcome === 'rejected') {
    giveUp(context, batchId, 'rejected', outcome.reason);
    return { submitted: 0, problem: `batch ${batchId} was rejected: ${outcome.reason}`, stuck: false };
  }
  const submitted = adoptBatchIds(context, batchId, outcome.nativeIds, 'the engine took it');
  await context.checkpoint('queued-written');
  return { submitted, problem: null, stuck: false };
}

/** The engine has the batch: rows it names become `queued`, rows it does not name never started. */
export function adoptBatchIds(
  context: CycleContext,
  batchId: string,
  nativeIds: Readonly<Record<string, string>>,
  note: string,
): number {
  const { db } = context.ledger;
  const nowMs = context.clock.now();
  return transaction(db, () => {
    const rows = pilotsOfBatch(db, batchId).filter(row => row.state === 'submitting');
    for (const { submissionId } of rows) {
      const nativeId = nativeIds[submissionId];
      if (nativeId === undefined) {
        changePilot(db, { submissionId, to: 'unsubmitted', note: 'the engine has not taken it', nowMs });
      } else changePilot(db, { submissionId, to: 'queued', nativeId, note, nowMs });
    }
    setBatchState(db, { batchId, to: 'submitted', note, nowMs });
    return rows.filter(row => nativeIds[row.submissionId] !== undefined).length;
  });
}

/** Nothing of the batch runs or ever will: its rows become `unsubmitted`, which gives the submissions back. */
export function giveUp(
  context: CycleContext,
  batchId: string,
  to: 'rejected' | 'refused' | 'abandoned',
  note: string,
): void {
  const { db } = context.ledger;
  const nowMs = context.clock.now();
  transaction(db, () => {
    for (const row of pilotsOfBatch(db, batchId)) {
      if (row.state !== 'intent' && row.state !== 'submitting') continue;
      changePilot(db, { submissionId: row.submissionId, to: 'unsubmitted', note, nowMs });
    }
    setBatchState(db, { batchId, to, note, nowMs });
  });
}

/** Whether the server certainly made no submissions for this call. */
function isRefusal(error: PilotageError): boolean {
  if (!isWireErrorCode(error.code)) return false;
  const { status } = errorTable[error.code];
  return status < 500 && error.code !== 'E_TOO_MANY_REQUESTS' && error.code !== 'E_IDEMPOTENCY_CONFLICT';
}

function refusedOrUnknown(context: CycleContext, batch: BatchRow, error: unknown): Advance {
  context.signal.throwIfAborted();
  if (!(error instanceof PilotageError)) throw error;
  const problem = `the server gave no submissions: ${error.code}: ${error.message}`;
  const conflict = error.code === 'E_IDEMPOTENCY_CONFLICT';
  if (!isRefusal(error) && !conflict) return { submitted: 0, problem, stuck: true };
  if (conflict || batch.state === 'granted') {
    expectOrphans(context);
    giveUp(context, batch.batchId, 'abandoned', problem);
  } else giveUp(context, batch.batchId, 'refused', problem);
  return { submitted: 0, problem, stuck: false };
}
