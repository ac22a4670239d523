import { PilotageError } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { ReplyBody } from '../../lib/protocol.ts';
import { describePlan, plan } from '../plan.ts';
import type { Plan } from '../plan.ts';
import type { EngineSeen, PlanSnapshot } from '../plan/step.ts';
import type { EngineSnapshot } from '../engines/engine.ts';
import { countOwn } from '../ledger/count-own.ts';
import { openBatches } from '../ledger/open-batches.ts';
import { recentOutcomes } from '../ledger/recent-outcomes.ts';
import { recordBatch } from '../ledger/record-batch.ts';
import { recordCycle } from '../ledger/record-cycle.ts';
import { advanceBatch } from './advance-batch.ts';
import { listSubmissions, withdrawUnused } from './ask-server.ts';
import type { CycleContext } from './context.ts';
import { withDeadline } from './deadline.ts';
import { keepLogs } from './keep-logs.ts';
import { reconcilePilots } from './reconcile-pilots.ts';
import { removeRevoked } from './remove-revoked.ts';
import { settleBatches } from './settle-batches.ts';
import { sweep } from './sweep.ts';

export interface CycleReport {
  /** Pilots given to the engine in this cycle. */
  submitted: number;
  plan: Plan;
  problems: string[];
  /** False when any call to the server failed; the loop then waits longer each time. */
  serverAnswered: boolean;
  /** The first failure of a call, for a run of one cycle. */
  failure: PilotageError | null;
}

/** Collects what went wrong; the cycle goes on with what it has, and plans nothing from what is missing. */
class Problems {
  readonly list: string[] = [];
  failure: PilotageError | null = null;
  readonly #context: CycleContext;

  constructor(context: CycleContext) {
    this.#context = context;
  }

  async attempt<T>(what: string, work: () => Promise<T>): Promise<T | null> {
    try {
      return await work();
    } catch (error) {
      this.#context.signal.throwIfAborted();
      if (!(error instanceof PilotageError)) throw error;
      this.failure ??= error;
      this.list.push(`${what}: ${error.code}: ${error.message}`);
      return null;
    }
  }
}

/** One cycle: settle what is half way, observe, reconcile, ask for demand, remove what was revoked, plan, submit, tidy. */
export async function runCycle(context: CycleContext): Promise<CycleReport> {
  const problems = new Problems(context);
  const settled = await settleBatches(context);
  problems.list.push(...settled.problems);
  await context.checkpoint('batches-settled');
  const looked = await observeEngine(context, problems);
  await context.checkpoint('engine-observed');
  const submissions = await problems.attempt('submissions', () => listSubmissions(context));
  const reconciled = looked === null ? null : await reconcilePilots(context, looked.snapshot, submissions);
  await context.checkpoint('pilots-reconciled');
  if (submissions !== null) {
    await problems.attempt('withdrawal', () =>
      withdrawUnused(context, looked?.snapshot ?? null, submissions),
    );
  }
  await keepLogs(context);
  const demand = await observeDemand(context, problems);
  if (demand !== null && looked !== null) {
    await problems.attempt('removal', () => removeRevoked(context, looked.snapshot, demand.seen.remove));
  }
  const snapshot: PlanSnapshot = {
    demand: demand === null ? null : { ...demand.seen, ageSeconds: ageSeconds(context, demand.atMonotonic) },
    engine: looked === null ? null : engineSeen(context, looked),
    own: {
      ...countOwn(context.ledger.db),
      missing: reconciled?.missing ?? 0,
      unresolved: openBatches(context.ledger.db).length,
    },
    recent: recentOutcomes(context.ledger.db, context.clock.now(), context.config.emptyWindowSeconds),
  };
  const planned = plan(snapshot, context.config);
  await context.checkpoint('planned');
  const fresh = planned.submit > 0 ? await submitNew(context, planned.submit, problems) : 0;
  const submitted = settled.submitted + fresh;
  await sweep(context);
  recordCycle(context.ledger.db, {
    atMs: context.clock.now(),
    submitted,
    reasons: planned.reasons,
    problems: problems.list,
  });
  logCycle(context, submitted, planned, problems.list);
  return {
    submitted,
    plan: planned,
    problems: problems.list,
    serverAnswered: submissions !== null && demand !== null,
    failure: problems.failure,
  };
}

interface Look {
  snapshot: EngineSnapshot;
  atMonotonic: number;
}

async function observeEngine(context: CycleContext, problems: Problems): Promise<Look | null> {
  const atMonotonic = context.clock.monotonic();
  const snapshot = await problems.attempt('engine', () =>
    withDeadline(context, `jobs of engine ${context.engine.name}`, signal => context.engine.snapshot(signal)),
  );
  if (snapshot === null) return null;
  problems.list.push(...snapshot.problems.map(problem => `engine: ${problem}`));
  return { snapshot, atMonotonic };
}

async function observeDemand(
  context: CycleContext,
  problems: Problems,
): Promise<{ seen: ReplyBody<'demand'>; atMonotonic: number } | null> {
  const atMonotonic = context.clock.monotonic();
  const seen = await problems.attempt('demand', () =>
    withDeadline(context, 'demand of the server', signal => context.server.demand(signal)),
  );
  return seen === null ? null : { seen, atMonotonic };
}

const ageSeconds = ({ clock }: CycleContext, atMonotonic: number): number =>
  (clock.monotonic() - atMonotonic) / 1000;

const engineSeen = (context: CycleContext, look: Look): EngineSeen => ({
  ageSeconds: ageSeconds(context, look.atMonotonic),
  complete: look.snapshot.complete,
});

/** Writes the intention, with the key that makes its request repeatable, before anybody else is told of it. */
async function submitNew(context: CycleContext, count: number, problems: Problems): Promise<number> {
  const nowMs = context.clock.now();
  const batch = {
    batchId: newId(),
    requested: count,
    validSeconds: context.config.validSeconds,
    idempotencyKey: newId(),
  };
  recordBatch(context.ledger.db, { ...batch, nowMs });
  await context.checkpoint('batch-recorded');
  const { submitted, problem } = await advanceBatch(context, { ...batch, state: 'asking', createdMs: nowMs });
  if (problem !== null) problems.list.push(problem);
  return submitted;
}

function logCycle(context: CycleContext, submitted: number, planned: Plan, problems: string[]): void {
  const record = { submitted, plan: describePlan(planned), ...(problems.length > 0 && { problems }) };
  if (problems.length > 0) context.log.warn(record, 'cycle with problems');
  else if (submitted > 0) context.log.info(record, 'cycle');
  else context.log.debug(record, 'cycle');
}
