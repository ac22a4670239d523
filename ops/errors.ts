import { PilotageError } from '../lib/errors.ts';
import type { ErrorParts } from '../lib/errors.ts';

export type OpsErrorCode =
  | 'E_PROGRAM_FAILED'
  | 'E_PROGRAM_SILENT'
  | 'E_SITE_MISSING'
  | 'E_SITE_BUSY'
  | 'E_DEMO_FAILED'
  | 'E_JOB_FILE'
  | 'E_NODE_TOOL'
  | 'E_BENCH_FAILED';

/** Errors of the operator's commands. */
export const opsError = (parts: ErrorParts<OpsErrorCode>): PilotageError<OpsErrorCode> =>
  new PilotageError(parts);
