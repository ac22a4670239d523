import { PilotageError } from '../lib/errors.ts';
import type { ErrorParts } from '../lib/errors.ts';

export type AutopilotErrorCode =
  | 'E_LEDGER_LOCKED'
  | 'E_LEDGER_FOREIGN'
  | 'E_LEDGER_SCHEMA'
  | 'E_LEDGER_UNREADABLE'
  | 'E_LEDGER_TRANSITION'
  | 'E_ENGINE_FAILED'
  | 'E_DRAIN_INCOMPLETE';

export const autopilotError = (parts: ErrorParts<AutopilotErrorCode>): PilotageError<AutopilotErrorCode> =>
  new PilotageError(parts);
