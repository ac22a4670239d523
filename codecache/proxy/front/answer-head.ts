import { STATUS_CODES } from 'node:http';
import { buildVersion } from '../../../lib/build-version.ts';

/** How an answer came about, for Cache-Status, X-Cache, counters and the access log. */
export type HowAnswered = 'hit' | 'miss' | 'joined' | 'revalidated' | 'stale';

/** What the header of an answer is made from; the body may be anywhere. */
export interface AnswerHead {
  status: number;
  contentType: string;
  cacheControl: string;
  etag: string | undefined;
  lastModified: string | undefined;
  vary: string | undefined;
  /** Of the whole body, in bytes. */
  length: number;
  /** Whether parts of the body may be asked for. */
  ranges: boolean;
  /** Epoch milliseconds at which its Age (RFC 9111 4.2.3) was zero. */
  bornMs: number;
  /** Epoch milliseconds from which it is stale. */
  freshUntilMs: number;
}

/** Header fields, names in lower case, in the order they are sent. */
export type Fields = [name: string, value: string][];

const STATUS: Record<HowAnswered, string> = {
  hit: 'hit',
  miss: 'fwd=miss',
  joined: 'fwd=miss; collapsed',
  revalidated: 'fwd=stale; fwd-status=304',
  stale: 'hit; detail=stale-if-error',
};

/**
 * The fields of a whole answer, and of the 304 and 206 made from it: freshness (RFC 9111 5), validators, Via, Cache-Status
 * (RFC 9211), and X-Cache for people and older tools. One list for the raw socket and for node:http.
 */
export function validatorFields(head: AnswerHead, how: HowAnswered, nowMs: number, via: string): Fields {
  const fields: Fields = [
    ['via', via],
    ['cache-control', head.cacheControl],
    ['age', String(Math.max(0, Math.floor((nowMs - head.bornMs) / 1000)))],
    ['cache-status', `pilotage-cache; ${STATUS[how]}; ttl=${Math.floor((head.freshUntilMs - nowMs) / 1000)}`],
    ['x-cache', how.toUpperCase()],
  ];
  if (head.etag !== undefined) fields.push(['etag', head.etag]);
  if (head.lastModified !== undefined) fields.push(['last-modified', head.lastModified]);
  if (head.vary !== undefined) fields.push(['vary', head.vary]);
  if (head.ranges) fields.push(['accept-ranges', 'bytes']);
  return fields;
}

/** The fields that describe a body of `length` bytes. */
export const bodyFields = (head: AnswerHead, length: number): Fields => [
  ['content-type', head.contentType],
  ['content-length', String(length)],
  ['x-content-type-options', 'nosniff'],
];

/** What the header says of the process that answers. */
export interface ServedBy {
  /** Its entry in Via. */
  via: string;
  /** Seconds without a request after which it closes a connection. */
  idleSeconds: number;
}

/** The whole header of a hit for the raw socket: what node:http sends for the same fields, in its order and spelling. */
export function rawHead(head: AnswerHead, nowMs: number, { via, idleSeconds }: ServedBy): string {
  const fields: Fields = [
    ['x-server-version', buildVersion],
    ...validatorFields(head, 'hit', nowMs, via),
    ...bodyFields(head, head.length),
    ['Date', new Date(nowMs).toUTCString()],
    ['Connection', 'keep-alive'],
    ['Keep-Alive', `timeout=${Math.floor(idleSeconds)}`],
  ];
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${head.status} ${STATUS_CODES[head.status]}\r\n${lines.join('')}\r\n`;
}
