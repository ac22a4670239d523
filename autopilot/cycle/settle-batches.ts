import { countOwn } from '../ledger/count-own.ts';
import { openBatches } from '../ledger/open-batches.ts';
import type { BatchRow } from '../ledger/open-batches.ts';
import { adoptBatchIds, advanceBatch, giveUp } from './advance-batch.ts';
import { expectOrphans } from './context.ts';
import type { CycleContext } from './context.ts';
import { withDeadline } from './deadline.ts';

export interface Settled {
  /** Batches that are still half way; nothing new is submitted while there are any. */
  unresolved: number;
  submitted: number;
  problems: string[];
}

/**
 * Settles what a crash or a lost answer left half way, before anything new is planned. A batch that may have reached the
 * engine is looked up there: found, it is adopted; provably absent, it is given up and its submissions are given back. One
 * that cannot have reached it goes on where it stopped, unless it is too old or over the cap.
 */
export async function settleBatches(context: CycleContext): Promise<Settled> {
  const settled: Settled = { unresolved: 0, submitted: 0, problems: [] };
  for (const batch of openBatches(context.ledger.db)) {
    context.signal.throwIfAborted();
    if (batch.state === 'submitting') await lookUp(context, batch, settled);
    else if (isOutdated(context, batch)) await abandon(context, batch, settled);
    else {
      const { submitted, problem, stuck } = await advanceBatch(context, batch);
      settled.submitted += submitted;
      if (problem !== null) settled.problems.push(problem);
      if (stuck) settled.unresolved += 1;
    }
  }
  return settled;
}

/** Too old for its submissions to be of use, or more than the cap allows (it was lowered meanwhile). */
function isOutdated({ config, clock, ledger }: CycleContext, batch: BatchRow): boolean {
  const ageSeconds = (clock.now() - batch.createdMs) / 1000;
  return ageSeconds > batch.validSeconds / 2 || countOwn(ledger.db).notEnded > config.maxPilots;
}

async function lookUp(context: CycleContext, batch: BatchRow, settled: Settled): Promise<boolean> {
  let problem: string;
  try {
    const lookup = await withDeadline(context, `fate of batch ${batch.batchId}`, signal =>
      context.engine.findByBatch(batch.batchId, signal),
    );
    if (lookup.found === 'present') {
      adoptBatchIds(context, batch.batchId, lookup.nativeIds, 'found at the engine');
      return true;
    }
    if (lookup.found === 'absent') {
      giveUp(context, batch.batchId, 'abandoned', lookup.proof);
      return true;
    }
    problem = lookup.reason;
  } catch (error) {
    context.signal.throwIfAborted();
    problem = (error as Error).message;
  }
  settled.unresolved += 1;
  settled.problems.push(`the fate of batch ${batch.batchId} is not known: ${problem}`);
  return false;
}

/** Gives a batch up that never reached the engine; what the server may have given for it is found as orphans. */
async function abandon(context: CycleContext, batch: BatchRow, settled: Settled): Promise<void> {
  const lookup = await withDeadline(context, `fate of batch ${batch.batchId}`, signal =>
    context.engine.findByBatch(batch.batchId, signal),
  );
  if (lookup.found !== 'absent') {
    settled.unresolved += 1;
    settled.problems.push(`batch ${batch.batchId} is at the engine although it was not given to it`);
    return;
  }
  expectOrphans(context);
  giveUp(context, batch.batchId, 'abandoned', 'too old, or over the cap, after a crash or a lost answer');
}
