import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { Clock } from '../../lib/clock.ts';
import { matchesEtag, rangeOf } from '../http/byte-range.ts';
import { sendText } from '../http/short-answers.ts';
import { cacheControl } from './cache-control.ts';
import type { ServedName } from './cache-control.ts';
import type { PublicFile, PublicFiles } from './public-files.ts';

/** Larger metadata is streamed like any other file. */
const MAX_BUFFERED_BYTES = 1 << 20;
/** Enough of a log's end to hold its last entry, which names all before it by hash. */
const LOG_TAIL_BYTES = 16_384;

interface Described {
  etag: string | undefined;
  /** The whole body, where it had to be read. */
  body?: Buffer;
  expiresMs?: number;
}

/**
 * Answers a request for a file: conditional requests, HEAD, single ranges, explicit freshness (code-store 4.4).
 *
 * @returns false when there is no such file; nothing was sent then.
 */
export async function sendObject(
  request: IncomingMessage,
  response: ServerResponse,
  name: ServedName,
  options: { files: PublicFiles; clock: Clock },
): Promise<boolean> {
  const file = await options.files.open(name.path);
  if (file === undefined) return false;
  try {
    const described = await describe(file, name);
    const rule = cacheControl(name, 200, options.clock.now(), described.expiresMs);
    response.setHeader('cache-control', rule);
    await sendFile(request, response, name, file, described);
  } finally {
    await file.close();
  }
  return true;
}

/** A strong tag for each: of the bytes where they are small, of what names them where they are not. */
async function describe(file: PublicFile, name: ServedName): Promise<Described> {
  if (name.kind === 'hash-named') return { etag: `"${name.sha256}"` };
  if (name.kind === 'log') return { etag: await logTag(file) };
  if (file.size > MAX_BUFFERED_BYTES || (name.kind === 'other' && file.tag !== undefined)) {
    return { etag: file.tag && `"${file.tag}"` };
  }
  const body = await file.bytes();
  const described: Described = { etag: `"${sha256(body)}"`, body };
  if (name.kind === 'timestamp') described.expiresMs = expiry(body);
  return described;
}

/** The same for the same log wherever it is kept: each entry holds the hash of the one before. */
export async function logTag(file: PublicFile): Promise<string> {
  const start = Math.max(0, file.size - LOG_TAIL_BYTES);
  const tail = file.size === 0 ? [] : await file.stream(start, file.size - 1).toArray();
  return `"${sha256(Buffer.concat(tail))}"`;
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** When the signature in a timestamp runs out; a file that cannot be read is not kept by anyone. */
function expiry(body: Buffer): number {
  try {
    const text =
      (JSON.parse(body.toString('utf8')) as { signed?: { expires?: string } }).signed?.expires ?? '';
    return Date.parse(text) || 0;
  } catch {
    return 0;
  }
}

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  json: 'application/json',
  jsonl: 'application/jsonl',
};

async function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  name: ServedName,
  file: PublicFile,
  { etag, body }: Described,
): Promise<void> {
  const size = body?.length ?? file.size;
  if (etag !== undefined) response.setHeader('etag', etag);
  response.setHeader('accept-ranges', 'bytes');
  response.setHeader('x-content-type-options', 'nosniff');
  if (etag !== undefined && matchesEtag(request.headers['if-none-match'], etag)) {
    response.writeHead(304).end();
    return;
  }
  const range = rangeOf(request, etag ?? '', size);
  if (range.kind === 'unsatisfiable') {
    response.setHeader('content-range', `bytes */${size}`);
    response.removeHeader('etag');
    return sendText(request, response, 416, 'The range is outside of the file.', 'no-store');
  }
  const start = range.kind === 'part' ? range.start : 0;
  const end = range.kind === 'part' ? range.end : size - 1;
  if (range.kind === 'part') response.setHeader('content-range', `bytes ${start}-${end}/${size}`);
  response.writeHead(range.kind === 'part' ? 206 : 200, {
    'content-type':
      CONTENT_TYPES[name.path.slice(name.path.lastIndexOf('.') + 1)] ?? 'application/octet-stream',
    'content-length': end - start + 1,
  });
  if (request.method === 'HEAD' || size === 0) response.end();
  else if (body !== undefined) response.end(body.subarray(start, end + 1));
  else {
    // A file that was cut since gives less than was announced: then end() throws, and the connection goes.
    response.strictContentLength = true;
    await pipeline(file.stream(start, end), response, { end: false });
    response.end();
  }
}
