import type { DatabaseErrorKind } from '../../dialect.ts';

const UNREACHABLE = new Set([
  'PROTOCOL_CONNECTION_LOST',
  'ETIMEDOUT',
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'EHOSTUNREACH',
  'ENETUNREACH',
]);

/** Error numbers: https://mariadb.com/kb/en/mariadb-error-code-reference/ */
export function classifyError(error: unknown): DatabaseErrorKind {
  const { errno, code, sqlState, fatal, message } = error as {
    errno?: unknown;
    code?: unknown;
    sqlState?: unknown;
    fatal?: unknown;
    message?: string;
  };
  if (typeof errno === 'number' && typeof sqlState === 'string') {
    if (errno === 1062 || errno === 1586) return 'unique-violation';
    // lock wait timeout, deadlock, record changed since last read
    if ([1205, 1213, 1020].includes(errno)) return 'try-again';
    // table exists, unknown table, duplicate column, duplicate key name, cannot drop, duplicate constraint
    if ([1050, 1051, 1060, 1061, 1091, 1826].includes(errno)) return 'already-so';
    // too many connections, access denied, unknown database, shutdown, killed
    if ([1040, 1044, 1045, 1049, 1053, 1203, 1226, 1698, 1927].includes(errno)) return 'unreachable';
    return 'other';
  }
  // mysql2 has no code for this one.
  if (fatal === true && /closed state/.test(message ?? '')) return 'unreachable';
  return typeof fatal === 'boolean' && typeof code === 'string' && UNREACHABLE.has(code)
    ? 'unreachable'
    : 'other';
}
