import type { DatabaseErrorKind } from '../../dialect.ts';

const BUSY = 5;
const LOCKED = 6;

/** The primary result code of an error of node:sqlite, or undefined for any other error. */
export function resultCode(error: unknown): number | undefined {
  const { code, errcode } = error as { code?: unknown; errcode?: unknown };
  return code === 'ERR_SQLITE_ERROR' && typeof errcode === 'number' ? errcode : undefined;
}

/** Another connection holds the lock; the statement has done nothing. */
export const isBusy = (error: unknown): boolean => [BUSY, LOCKED].includes((resultCode(error) ?? 0) & 0xff);

/** Result codes: https://www.sqlite.org/rescode.html */
export function classifyError(error: unknown): DatabaseErrorKind {
  const code = resultCode(error);
  if (code === undefined) return 'other';
  // SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE, SQLITE_CONSTRAINT_ROWID
  if ([1555, 2067, 2579].includes(code)) return 'unique-violation';
  if (isBusy(error)) return 'try-again';
  // SQLITE_CANTOPEN, SQLITE_NOTADB, SQLITE_IOERR
  if ([14, 26, 10].includes(code & 0xff)) return 'unreachable';
  return 'other';
}
