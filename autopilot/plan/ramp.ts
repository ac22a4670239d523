import type { PlanStep } from './step.ts';

/** No more than so many in one cycle, so that a mistake shows while it is still small. */
export const rampStep: PlanStep = (wanted, _snapshot, policy) => ({
  step: 'ramp',
  in: wanted,
  out: Math.min(wanted, policy.maxPerCycle),
  why: `at most ${policy.maxPerCycle} in one cycle`,
});
