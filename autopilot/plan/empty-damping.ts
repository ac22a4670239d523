import type { PlanStep } from './step.ts';

/** Where pilots come back without having found a job, fewer are sent; never none, so that a change is noticed. */
export const emptyDampingStep: PlanStep = (wanted, { recent }, policy) => {
  if (recent.ended < policy.emptyMinimum) {
    return {
      step: 'empty pilots',
      in: wanted,
      out: wanted,
      why: `only ${recent.ended} pilot(s) ended lately, ${policy.emptyMinimum} are needed to judge`,
    };
  }
  const useful = 1 - Math.min(1, recent.empty / recent.ended);
  return {
    step: 'empty pilots',
    in: wanted,
    out: wanted === 0 ? 0 : Math.min(wanted, Math.max(1, Math.ceil(wanted * useful))),
    why: `${recent.empty} of the last ${recent.ended} found no job`,
  };
};
