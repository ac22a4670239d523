import { createHash } from 'node:crypto';
import { parseCacheControl } from './cache-control.ts';
import { judge } from './freshness.ts';
import type { Freshness, Received } from './freshness.ts';
import { nominated } from './vary.ts';

/** One answer for metadata: small, so it is whole in memory, and kept on disk for other processes and the next start. */
export interface Answer {
  /** View, path, and for answers that vary the variant. */
  key: string;
  status: number;
  contentType: string;
  /** As the upstream said it; with a max-age where it said Expires. */
  cacheControl: string;
  etag: string | undefined;
  lastModified: string | undefined;
  vary: string | undefined;
  body: Buffer;
  /** Of the body, lower-case hex. */
  sha256: string;
  freshness: Freshness;
  /** Base URL of the upstream that gave or last confirmed it. */
  upstream: string;
  /** What it is judged by, as received, for a later 304 to be merged with. */
  fields: Readonly<Record<string, string>>;
}

/** Fields of an upstream that are read at all; Set-Cookie and whatever else it sends ends here. */
const READ = new Set([
  'age',
  'cache-control',
  'content-type',
  'date',
  'etag',
  'expires',
  'last-modified',
  'vary',
]);
const MAX_FIELD = 1024;
const ETAG = /^(W\/)?"[\x21\x23-\x7e]*"$/;

/** Of what an upstream sent, the fields that are kept: short, printable, well-formed. */
export function readable(fields: Readonly<Record<string, string>>): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (!READ.has(name)) continue;
    const fine = value.length <= MAX_FIELD && /^[\t\x20-\x7e]*$/.test(value);
    if (name === 'etag' && !(fine && ETAG.test(value))) continue;
    if (fine) kept[name] = value;
    // Not understood: what it would have forbidden is forbidden.
    else if (name === 'cache-control') kept[name] = 'no-store';
    else if (name === 'vary') kept[name] = '*';
  }
  return kept;
}

/** Makes an answer of what was received; `notAfterMs` and `longestMs` as {@link judge} takes them. */
export function makeAnswer(
  {
    key,
    upstream,
    body,
    notAfterMs,
    longestMs,
  }: Pick<Answer, 'key' | 'upstream' | 'body'> & { notAfterMs: number; longestMs?: number },
  received: Received,
): Answer {
  const fields = readable(received.fields);
  const cookie =
    received.fields['set-cookie'] !== undefined && !parseCacheControl(fields['cache-control']).has('public');
  const judged = {
    ...fields,
    ...(nominated(fields.vary) === '*' && { vary: '*' }),
    // What comes with a cookie is for one client, unless it says otherwise.
    ...(cookie && { 'cache-control': 'private' }),
  };
  const freshness = judge({ ...received, fields: judged }, notAfterMs, longestMs);
  return {
    key,
    status: received.status,
    contentType: fields['content-type'] ?? 'application/octet-stream',
    cacheControl: passedOn(fields, freshness),
    etag: fields.etag,
    lastModified: fields['last-modified'],
    vary: fields.vary,
    body,
    sha256: sha256Of(body),
    freshness,
    upstream,
    fields,
  };
}

/** Cache-Control for whoever is below: explicit on every answer, so that no cache there guesses. */
function passedOn(fields: Record<string, string>, { bornMs, freshUntilMs }: Freshness): string {
  const given = fields['cache-control'];
  const directives = parseCacheControl(given);
  const said = ['max-age', 's-maxage', 'no-store', 'no-cache', 'private'].some(name => directives.has(name));
  if (said) return given!;
  if (fields.expires === undefined) return given === undefined ? 'no-cache' : `${given}, no-cache`;
  const seconds = Math.max(0, Math.floor((freshUntilMs - bornMs) / 1000));
  return `${given === undefined ? '' : `${given}, `}max-age=${seconds}`;
}

/** Header fields by which the upstream that gave an answer can confirm it (RFC 9111 4.3.1). */
export function validators({ etag, lastModified }: Answer): Record<string, string> {
  return {
    ...(etag !== undefined && { 'if-none-match': etag }),
    ...(etag === undefined && lastModified !== undefined && { 'if-modified-since': lastModified }),
  };
}

/** Whether a 304 with these fields is about this answer (RFC 9111 4.3.4). */
export function confirms(fields: Readonly<Record<string, string>>, { etag, lastModified }: Answer): boolean {
  const [tag, date] = [fields.etag, fields['last-modified']];
  if (tag === undefined) return etag !== undefined || date === undefined || date === lastModified;
  if (!tag.startsWith('W/')) return tag === etag;
  return etag?.replace(/^W\//, '') === tag.slice(2);
}

export const sha256Of = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');
