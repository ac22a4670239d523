import { capStep } from './plan/cap.ts';
import { demandStep } from './plan/demand.ts';
import { emptyDampingStep } from './plan/empty-damping.ts';
import { failureBackoffStep, rejectionBackoffStep } from './plan/failure-backoff.ts';
import { staleness } from './plan/freshness.ts';
import { rampStep } from './plan/ramp.ts';
import type { FreshSnapshot, PlanPolicy, PlanReason, PlanSnapshot, PlanStep } from './plan/step.ts';

export interface Plan {
  /** Pilots to submit now. */
  submit: number;
  /** One message for each step that was asked, in order. */
  reasons: PlanReason[];
}

const steps: readonly PlanStep[] = [
  demandStep,
  capStep,
  rampStep,
  emptyDampingStep,
  failureBackoffStep,
  rejectionBackoffStep,
];

/**
 * How many pilots to submit now: pure, so that every decision can be repeated from its snapshot. The chain is
 * demand, cap, ramp, empty pilots, failed pilots, rejected submissions; each step only ever lowers what came in.
 * Fails closed: a stale or missing snapshot gives 0 and says which.
 */
export function plan(snapshot: PlanSnapshot, policy: PlanPolicy): Plan {
  const stale = staleness(snapshot, policy);
  if (stale !== null) return { submit: 0, reasons: [{ step: 'freshness', in: 0, out: 0, why: stale }] };
  const fresh = snapshot as FreshSnapshot;
  let wanted = fresh.demand.activated;
  const reasons: PlanReason[] = [];
  for (const step of steps) {
    const reason = step(wanted, fresh, policy);
    reasons.push(reason);
    wanted = reason.out;
  }
  return { submit: wanted, reasons };
}

/** The reasons as one line: `demand 8->6 (why); cap 6->2 (why); ...`. */
export const describePlan = ({ reasons }: Plan): string =>
  reasons.map(reason => `${reason.step} ${reason.in}->${reason.out} (${reason.why})`).join('; ');
