import CachePolicy from 'http-cache-semantics';
import { parseCacheControl, secondsOf } from './cache-control.ts';
import type { Directives } from './cache-control.ts';
import { httpDate } from './http-date.ts';

/** How long one answer may be used; times are epoch milliseconds, so that whoever serves it only compares. */
export interface Freshness {
  /** Whether it may be kept at all, if only to be confirmed by the origin at each use. */
  readonly storable: boolean;
  /** When its Age was zero. */
  readonly bornMs: number;
  /** From when on it is stale. */
  readonly freshUntilMs: number;
  /** Until when it may be served while every upstream fails (RFC 5861 4). */
  readonly usableUntilMs: number;
}

/** An answer as it came from an upstream. */
export interface Received {
  status: number;
  /** Header fields, names in lower case, several of one name joined by commas. */
  fields: Readonly<Record<string, string>>;
  requestedMs: number;
  receivedMs: number;
}

/** No single upstream can hide for longer that there is something new: a root, a timestamp, a file that was missing. */
export const NEWS_MS = 60_000;

const OPTIONS = { shared: true, cacheHeuristic: 0, immutableMinTimeToLive: 0 };
const REQUEST = { method: 'GET', headers: {} };
const KEPT = [200, 404, 410];
/** What forbids a shared cache to serve it stale (RFC 9111 4.2.4). */
const STRICT = ['must-revalidate', 'proxy-revalidate', 's-maxage', 'no-cache'];

/**
 * Judges an answer by RFC 9111 as a shared cache does, from explicit freshness only. http-cache-semantics decides what may
 * be stored and for how long; it is given fields that were read here, for it takes names of directives by case, splits
 * quoted arguments, and reads `1x` as a number and dates without a zone as local time. Age is counted here: it leaves out
 * the response delay.
 *
 * @param notAfterMs end of the signature of what is signed: it is neither fresh nor usable after that.
 * @param longestMs it is fresh for no longer, whatever the upstream says. That something is missing never is for longer
 *   than {@link NEWS_MS}.
 */
export function judge(received: Received, notAfterMs = Infinity, longestMs = Infinity): Freshness {
  const { status, fields, requestedMs, receivedMs } = received;
  const directives = parseCacheControl(fields['cache-control']);
  const headers = explicit(received, directives);
  const policy = new CachePolicy(REQUEST, { status, headers }, OPTIONS);
  // 4.2.3, without the guess from Date: no cache is so old that it sets no Age, and clocks of nodes go wrong.
  const bornMs = receivedMs - ageSeconds(fields.age) * 1000 - Math.max(0, receivedMs - requestedMs);
  const never = fields.vary?.split(',').some(name => name.trim() === '*') === true;
  const newsMs = receivedMs + (status === 200 ? longestMs : NEWS_MS);
  const freshUntilMs = Math.min(never ? bornMs : bornMs + policy.maxAge() * 1000, notAfterMs, newsMs);
  const strict = never || STRICT.some(name => directives.has(name));
  const staleMs = strict ? 0 : (secondsOf(directives, 'stale-if-error') ?? 0) * 1000;
  const usableUntilMs = Math.min(freshUntilMs + staleMs, notAfterMs);
  const validator = fields.etag ?? fields['last-modified'];
  // Without freshness it is worth keeping for its validator only; that something is missing never is.
  const worthIt = status === 200 ? usableUntilMs > bornMs || validator !== undefined : freshUntilMs > bornMs;
  const storable = KEPT.includes(status) && policy.storable() && worthIt;
  return { storable, bornMs, freshUntilMs, usableUntilMs };
}

/** One that will only be born was received before the clock was set back: nobody knows how old it is. */
export const isFresh = ({ bornMs, freshUntilMs }: Freshness, nowMs: number): boolean =>
  nowMs >= bornMs && nowMs < freshUntilMs;

/** Whether it may be served while every upstream fails. */
export const isUsable = ({ usableUntilMs }: Freshness, nowMs: number): boolean => nowMs < usableUntilMs;

/**
 * Fields of a stored answer after a 304 (RFC 9111 3.2): each that the 304 has replaces the stored one, but those that
 * describe the body, which is the stored one. Age and Date are those of the 304 alone.
 */
export function refreshed(
  stored: Readonly<Record<string, string>>,
  confirmed: Readonly<Record<string, string>>,
): Record<string, string> {
  const merged = { ...stored };
  for (const name of ['age', 'date']) delete merged[name];
  for (const [name, value] of Object.entries(confirmed)) if (!OF_THE_BODY.has(name)) merged[name] = value;
  return merged;
}

const OF_THE_BODY = new Set(['content-length', 'content-type', 'content-encoding', 'content-range']);

/** Only what the policy is to judge by, in the one form that it reads rightly. */
function explicit({ fields, receivedMs }: Received, directives: Directives): Record<string, string> {
  const control: string[] = ['no-store', 'private', 'no-cache', 'public'].filter(name =>
    directives.has(name),
  );
  for (const name of ['max-age', 's-maxage']) {
    const seconds = secondsOf(directives, name);
    if (seconds !== undefined) control.push(`${name}=${seconds}`);
  }
  return {
    'cache-control': control.join(', '),
    date: httpText(httpDate(fields.date) ?? receivedMs),
    // An Expires that is no date has passed (5.3).
    ...(fields.expires !== undefined && { expires: httpText(httpDate(fields.expires) ?? 0) }),
  };
}

const httpText = (ms: number): string => new Date(ms).toUTCString();

/** The first of several counts, and what is no number does not (5.1). */
const ageSeconds = (field: string | undefined): number =>
  Math.min(Number(/^\s*(\d+)\s*(?:,|$)/.exec(field ?? '')?.[1] ?? 0), 2 ** 31);
