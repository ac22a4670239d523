import type { PlanPolicy, PlanStep } from './step.ts';

/** Seconds to wait after the `streak`th failure in a row: doubles each time, bounded. */
export function backoffSeconds(streak: number, policy: PlanPolicy): number {
  const doublings = Math.min(30, Math.max(0, streak - 1));
  return Math.min(policy.maxBackoffSeconds, policy.backoffSeconds * 2 ** doublings);
}

const probe = (step: string, wanted: number, waiting: number, why: string) => ({
  step,
  in: wanted,
  out: waiting > 0 ? 0 : Math.min(1, wanted),
  why:
    waiting > 0 ? `${why}; ${waiting} pilot(s) are still on their way as a probe` : `${why}; one as a probe`,
});

/** After failures in a row nothing is sent for a while, then one pilot as a probe; a success opens the way again. */
export const failureBackoffStep: PlanStep = (wanted, { recent, own }, policy) => {
  const step = 'failed pilots';
  if (recent.failedPilots < policy.failureThreshold) {
    return { step, in: wanted, out: wanted, why: `${recent.failedPilots} failure(s) in a row` };
  }
  const waitSeconds = backoffSeconds(recent.failedBatches, policy);
  const failed = `the last ${recent.failedPilots} pilot(s) failed`;
  if (recent.lastFailedAgoSeconds < waitSeconds) {
    const left = Math.ceil(waitSeconds - Math.max(0, recent.lastFailedAgoSeconds));
    return { step, in: wanted, out: 0, why: `${failed}; waiting ${left} s more of ${waitSeconds} s` };
  }
  return probe(step, wanted, own.waiting, failed);
};

/** The same for submissions that the batch system itself rejected. */
export const rejectionBackoffStep: PlanStep = (wanted, { recent, own }, policy) => {
  const step = 'rejected submissions';
  if (recent.rejections === 0) return { step, in: wanted, out: wanted, why: 'none in a row' };
  const waitSeconds = backoffSeconds(recent.rejections, policy);
  const rejected = `the batch system rejected the last ${recent.rejections} submission(s)`;
  if (recent.lastRejectedAgoSeconds < waitSeconds) {
    const left = Math.ceil(waitSeconds - Math.max(0, recent.lastRejectedAgoSeconds));
    return { step, in: wanted, out: 0, why: `${rejected}; waiting ${left} s more of ${waitSeconds} s` };
  }
  return probe(step, wanted, own.waiting, rejected);
};
