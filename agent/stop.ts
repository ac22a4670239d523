import type { Cause } from '../lib/protocol/job.ts';
import { makeCause } from './errors.ts';

/** Why an attempt must end before its payload does: told to the payload's supervisor through an AbortSignal's reason. */
export type StopReason =
  | { kind: 'terminated'; cause: Cause }
  | { kind: 'killed'; cause: Cause }
  /** The release that the pilot runs was killed: the job is run again by another. */
  | { kind: 'revoked'; cause: Cause }
  /** The server no longer knows or wants this attempt: nothing is reported. */
  | { kind: 'gone'; code: string };

export const terminated = (signal: string): StopReason => ({
  kind: 'terminated',
  cause: makeCause('PILOT_TERMINATED', `the pilot got ${signal}`),
});

export const killed = (reason: string): StopReason => ({
  kind: 'killed',
  cause: makeCause('KILLED', reason === '' ? 'killed on request' : reason),
});

export const revoked = (because: string): StopReason => ({
  kind: 'revoked',
  cause: makeCause('RELEASE_REVOKED', `the release of the pilot was killed: ${because}`),
});

/** The reason a stop signal was aborted with. */
export const stopReasonOf = (signal: AbortSignal): StopReason | undefined =>
  signal.aborted ? (signal.reason as StopReason) : undefined;
