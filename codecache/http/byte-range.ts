import type { IncomingMessage } from 'node:http';

export type RangeAnswer =
  { kind: 'whole' } | { kind: 'part'; start: number; end: number } | { kind: 'unsatisfiable' };

/**
 * Judges a Range header against a body of `size` bytes (RFC 9110 14.2). Several ranges, other units and malformed
 * headers are ignored, which the specification allows: the whole body is the answer.
 *
 * @returns for a part, `start` and inclusive `end`, both inside the body.
 */
export function byteRange(header: string | undefined, size: number): RangeAnswer {
  const match = header === undefined ? null : /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header.trim());
  if (match === null) return { kind: 'whole' };
  const [, first, last] = match as unknown as [string, string, string];
  if (first === '' && last === '') return { kind: 'whole' };
  if (first === '') {
    const suffix = Number(last);
    if (suffix === 0 || size === 0) return { kind: 'unsatisfiable' };
    return { kind: 'part', start: Math.max(0, size - suffix), end: size - 1 };
  }
  const start = Number(first);
  if (last !== '' && Number(last) < start) return { kind: 'whole' };
  if (start >= size) return { kind: 'unsatisfiable' };
  return { kind: 'part', start, end: last === '' ? size - 1 : Math.min(Number(last), size - 1) };
}

const TAGS = /(?:W\/)?("[\x21\x23-\x7e\x80-\xff]*")/g;
const opaque = (tag: string): string => tag.replace(/^W\//, '');

/** True when If-None-Match names this tag, or any with `*` (weak comparison, RFC 9110 13.1.2). */
export function matchesEtag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  if (header.trim() === '*') return true;
  return [...header.matchAll(TAGS)].some(match => match[1] === opaque(etag));
}

/** If-Range lets a range through only for the same strong tag; dates are treated as not matching (RFC 9110 13.1.5). */
export const rangeApplies = (ifRange: string | undefined, etag: string): boolean =>
  ifRange === undefined || (ifRange.trim() === etag && !etag.startsWith('W/'));

/** The part of a body that a request asks for; only GET can, and HEAD tells of the whole (RFC 9110 14.2). */
export function rangeOf(
  { method, headers }: Pick<IncomingMessage, 'method' | 'headers'>,
  etag: string,
  size: number,
): RangeAnswer {
  const applies = method === 'GET' && rangeApplies(headers['if-range'] as string | undefined, etag);
  return byteRange(applies ? headers.range : undefined, size);
}
