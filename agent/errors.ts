import { PilotageError } from '../lib/errors.ts';
import type { ErrorParts } from '../lib/errors.ts';
import type { CauseCode } from '../lib/job-causes.ts';
import type { Cause } from '../lib/protocol/job.ts';

/** What the pilot itself stops with, or ends an attempt with. */
export type AgentErrorCode =
  | 'E_BOOTSTRAP_INVALID'
  | 'E_NODE_UNFIT'
  | 'E_ENROLMENT_REFUSED'
  | 'E_STAGE_IN_FAILED'
  | 'E_STAGE_IN_CHECKSUM'
  | 'E_STAGE_OUT_FAILED'
  | 'E_OUTPUT_MISSING'
  | 'E_WORK_DISK_EXCEEDED'
  | 'E_PAYLOAD_NOT_STARTED'
  | 'E_RECEIPT_INVALID'
  | 'E_STEP_STUCK';

export const agentError = (parts: ErrorParts<AgentErrorCode>): PilotageError<AgentErrorCode> =>
  new PilotageError(parts);

/** Which cause of death an error of a step is; anything not named here is the pilot's own fault. */
const causeOfCode: Partial<Record<string, CauseCode>> = {
  E_NODE_UNFIT: 'NODE_UNFIT',
  E_STAGE_IN_FAILED: 'STAGE_IN_FAILED',
  E_STAGE_IN_CHECKSUM: 'STAGE_IN_CHECKSUM',
  E_STAGE_OUT_FAILED: 'STAGE_OUT_FAILED',
  E_OUTPUT_MISSING: 'OUTPUT_MISSING',
  E_WORK_DISK_EXCEEDED: 'DISK_EXCEEDED',
  E_PAYLOAD_NOT_STARTED: 'PAYLOAD_NOT_STARTED',
};

const causeOfStuckStep: Partial<Record<string, CauseCode>> = {
  'stage-in': 'STAGE_IN_FAILED',
  'stage-out': 'STAGE_OUT_FAILED',
};

/** The cause, with the evidence in its text, that an attempt ends with after a step threw `error`. */
export function causeOf(error: unknown): Cause {
  if (!(error instanceof PilotageError)) {
    return makeCause('PILOT_ERROR', error instanceof Error ? error.message : String(error));
  }
  const parts = [error.message];
  if (error.where !== undefined) parts.push(`where: ${error.where}`);
  if (error.expected !== undefined) parts.push(`expected: ${error.expected}`);
  if (error.found !== undefined) parts.push(`found: ${error.found}`);
  const stuck = error.code === 'E_STEP_STUCK' ? causeOfStuckStep[error.where ?? ''] : undefined;
  return makeCause(stuck ?? causeOfCode[error.code] ?? 'PILOT_ERROR', parts.join('; '));
}

/** A cause with its text bounded as the contract bounds it. */
export const makeCause = (code: CauseCode, text: string): Cause => ({ code, text: text.slice(0, 2000) });
