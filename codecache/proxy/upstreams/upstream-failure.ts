import { PilotageError } from '../../../lib/errors.ts';
import { httpDate } from '../metadata/http-date.ts';

/** What undici's and the system's errors mean to whoever reads a log. */
const MEANING: Record<string, string> = {
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'no byte for too long',
  UND_ERR_SOCKET: 'the connection was closed',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the connection was closed in the middle of the body',
  UND_ERR_HEADERS_OVERFLOW: 'a header over the limit',
  UND_ERR_ABORTED: 'the request was given up',
};

/** In words, and whether time had run out. */
export function describeFailure(reason: unknown): { found: string; timeout: boolean } {
  if (!(reason instanceof Error)) return { found: String(reason), timeout: false };
  if (reason.name === 'TimeoutError') return { found: 'not whole in time', timeout: true };
  const { code } = reason as NodeJS.ErrnoException;
  if (typeof code !== 'string') return { found: reason.message, timeout: false };
  return { found: MEANING[code] ?? code, timeout: /TIMEOUT|TIMEDOUT/.test(code) };
}

/** Milliseconds that Retry-After asks for, in seconds or as a date (RFC 9110 10.2.3); undefined when it asks nothing. */
export function retryAfterMs(retryAfter: string, date: string, nowMs: number): number | undefined {
  const asked = retryAfter.trim();
  if (/^\d{1,9}$/.test(asked)) return Number(asked) * 1000;
  const until = httpDate(asked);
  // By the clock of whoever wrote it, where that is known.
  return until === undefined ? undefined : Math.max(0, until - (httpDate(date) ?? nowMs));
}

/**
 * Of two failures the one that lets a client come back sooner, for the Retry-After of one upstream does not speak for
 * another; the second of two that are equal.
 *
 * @param one undefined when there was none yet.
 */
export const sooner = (one: unknown, other: unknown): unknown =>
  one === undefined || patience(other) <= patience(one) ? other : one;

const patience = (error: unknown): number =>
  error instanceof PilotageError ? (error.retryAfterSeconds ?? 0) : 0;
