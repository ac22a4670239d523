import type { DatabaseErrorKind } from '../../dialect.ts';

const NETWORK = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EPIPE',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT',
  'EACCES',
]);

/** SQLSTATE codes: https://www.postgresql.org/docs/current/errcodes-appendix.html */
export function classifyError(error: unknown): DatabaseErrorKind {
  const { code, severity, message } = error as { code?: unknown; severity?: unknown; message?: string };
  if (typeof code === 'string' && severity !== undefined) {
    if (code === '23505') return 'unique-violation';
    // serialization_failure, deadlock_detected, lock_not_available
    if (['40001', '40P01', '55P03'].includes(code)) return 'try-again';
    // duplicate_table, duplicate_column, duplicate_object; undefined_table, undefined_object, undefined_column
    if (['42P07', '42701', '42710', '42P01', '42704', '42703'].includes(code)) return 'already-so';
    // connection exceptions, too many connections, operator intervention, authentication, unknown database
    if (/^(08|28|57P0)/.test(code) || code === '53300' || code === '3D000') return 'unreachable';
    return 'other';
  }
  const { syscall } = error as { syscall?: unknown };
  if (typeof code === 'string' && NETWORK.has(code) && syscall !== undefined) return 'unreachable';
  // pg has no codes for these.
  return /^Connection terminated|^timeout exceeded when trying to connect|^Client has encountered a connection error|^Query read timeout/.test(
    message ?? '',
  )
    ? 'unreachable'
    : 'other';
}
