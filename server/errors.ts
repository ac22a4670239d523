import { PilotageError } from '../lib/errors.ts';
import type { ErrorParts } from '../lib/errors.ts';

/** Codes of the server's own start-up and commands; what crosses the wire is in lib/error-table.ts. */
export type ServerErrorCode =
  'E_CONFIG_INVALID' | 'E_KEY_MISSING' | 'E_KEY_UNREADABLE' | 'E_INSTANCE_MISMATCH' | 'E_FILE_EXISTS';

export const serverError = (parts: ErrorParts<ServerErrorCode>): PilotageError<ServerErrorCode> =>
  new PilotageError(parts);
