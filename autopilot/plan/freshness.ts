import type { PlanPolicy, PlanSnapshot } from './step.ts';

const isFresh = (ageSeconds: number, maxAgeSeconds: number): boolean =>
  Number.isFinite(ageSeconds) && ageSeconds >= 0 && ageSeconds <= maxAgeSeconds;

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

/**
 * Fails closed: without a fresh demand and a fresh, complete look at the batch system nothing is submitted.
 *
 * @returns why the snapshot cannot be acted on, or null when it can.
 */
export function staleness(snapshot: PlanSnapshot, policy: PlanPolicy): string | null {
  const { demand, engine, own } = snapshot;
  if (demand === null) return 'the server did not tell its demand';
  if (!isFresh(demand.ageSeconds, policy.maxAgeSeconds)) {
    return `the demand is ${demand.ageSeconds} s old, at most ${policy.maxAgeSeconds} s is acted on`;
  }
  const counts = [demand.activated, demand.cap, demand.submissionsOpen, demand.pilotsIdle, demand.pilotsBusy];
  if (!counts.every(isCount)) return 'the demand holds a number that is not a count';
  if (engine === null) return 'the batch system could not be read';
  if (!engine.complete) return 'the batch system showed only a part of its jobs';
  if (!isFresh(engine.ageSeconds, policy.maxAgeSeconds)) {
    return `the look at the batch system is ${engine.ageSeconds} s old, at most ${policy.maxAgeSeconds} s is acted on`;
  }
  if (own.unresolved > 0) return `the fate of ${own.unresolved} earlier batch(es) is not known yet`;
  if (own.expected >= 4 && own.missing * 2 > own.expected) {
    return `the batch system shows ${own.expected - own.missing} of ${own.expected} pilots; too few to be believed`;
  }
  return null;
}
