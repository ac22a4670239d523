import { PilotageError } from '../errors.ts';
import type { ErrorParts, LibErrorCode } from '../errors.ts';
import { dialects } from './dialects.ts';
import type { DatabaseErrorKind } from './dialect.ts';

/** What this folder throws on purpose; most codes are shared through lib/errors.ts. */
export type DatabaseErrorCode =
  | Extract<
      LibErrorCode,
      | 'E_DATABASE_UNREACHABLE'
      | 'E_DATABASE_URL'
      | 'E_SCHEMA_UNKNOWN'
      | 'E_SCHEMA_OUTDATED'
      | 'E_MIGRATION_CHANGED'
      | 'E_TIMEOUT'
    >
  | 'E_MIGRATION_FAILED';

export const databaseError = (parts: ErrorParts<DatabaseErrorCode>): PilotageError<DatabaseErrorCode> =>
  new PilotageError(parts);

/** What a driver's error means; `other` for anything that is not of a driver. */
export function classifyDatabaseError(error: unknown): DatabaseErrorKind {
  if (typeof error !== 'object' || error === null) return 'other';
  for (const dialect of Object.values(dialects)) {
    const kind = dialect.classifyError(error);
    if (kind !== 'other') return kind;
  }
  return 'other';
}

/** True when an insert or update met a value that a unique or primary key holds already. */
export const isUniqueViolation = (error: unknown): boolean =>
  classifyDatabaseError(error) === 'unique-violation';

/** True when the database is away or its connection broke: answer E_NOT_READY, and try again later. */
export const isDatabaseUnreachable = (error: unknown): boolean =>
  (error instanceof PilotageError && error.code === 'E_DATABASE_UNREACHABLE') ||
  classifyDatabaseError(error) === 'unreachable';
