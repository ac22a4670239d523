import type { PlanStep } from './step.ts';

/** Jobs waiting, less every pilot that is already free or on its way to them. */
export const demandStep: PlanStep = (activated, { demand, own }, policy) => {
  const wanted = Math.ceil(activated * policy.pilotsPerJob);
  const coming = Math.max(demand.submissionsOpen, own.waiting);
  return {
    step: 'demand',
    in: activated,
    out: Math.max(0, wanted - demand.pilotsIdle - coming),
    why: `${activated} job(s) want ${wanted} pilot(s); ${demand.pilotsIdle} idle, ${coming} on their way`,
  };
};
