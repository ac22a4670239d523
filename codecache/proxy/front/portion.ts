import type { IncomingMessage } from 'node:http';
import { matchesEtag, rangeOf } from '../../http/byte-range.ts';
import type { RangeAnswer } from '../../http/byte-range.ts';
import { httpDate } from '../metadata/http-date.ts';
import type { AnswerHead } from './answer-head.ts';

export type Portion = RangeAnswer | { kind: 'not-modified' };

/**
 * How much of a stored answer a request gets, by its preconditions and then its range (RFC 9110 13.2.2, RFC 9111 4.3.2):
 * If-None-Match before If-Modified-Since; If-Match and If-Unmodified-Since are not for caches.
 */
export function portionOf(request: Pick<IncomingMessage, 'method' | 'headers'>, head: AnswerHead): Portion {
  if (head.status !== 200) return { kind: 'whole' };
  const { etag } = head;
  const tags = request.headers['if-none-match'];
  const known =
    tags === undefined
      ? unmodifiedSince(request.headers['if-modified-since'], head.lastModified)
      : matchesEtag(tags, etag ?? '');
  if (known) return { kind: 'not-modified' };
  return head.ranges && etag !== undefined ? rangeOf(request, etag, head.length) : { kind: 'whole' };
}

function unmodifiedSince(since: string | undefined, lastModified: string | undefined): boolean {
  const [asked, modified] = [httpDate(since), httpDate(lastModified)];
  return asked !== undefined && modified !== undefined && modified <= asked;
}
