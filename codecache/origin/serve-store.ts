import { createHash } from 'node:crypto';
import { constants, open, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { systemClock } from '../../lib/clock.ts';
import type { Clock } from '../../lib/clock.ts';
import { fromSystemError, libError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { byteRange, matchesEtag, rangeApplies } from '../http/byte-range.ts';
import { objectName, publicPath } from '../http/object-name.ts';
import type { ObjectName } from '../http/object-name.ts';
import { sendJson, sendText, startPlainServer } from '../http/plain-server.ts';
import type { PlainServer, ServerLimits } from '../http/plain-server.ts';
import { cacheControl } from './cache-control.ts';

const MAX_METADATA_BYTES = 1 << 20;

interface Opened {
  file: FileHandle;
  size: number;
  etag: string;
  /** The whole body, for metadata. */
  body?: Buffer;
  expiresMs?: number;
}

/**
 * Serves the public half of a release repository (`R/public`): static files, explicit Cache-Control on every answer,
 * strong ETags, HEAD, conditional requests and single ranges. Reads only; nothing outside `metadata/` and `targets/`.
 *
 * @throws E_FILE_MISSING when `directory` holds no repository; E_PORT_IN_USE and the like from listening.
 */
export async function serveStore(options: {
  directory: string;
  listen: string;
  log: Logger;
  clock?: Clock;
  limits?: Partial<ServerLimits>;
}): Promise<PlainServer> {
  const { directory, log, clock = systemClock } = options;
  await checkDirectory(directory);
  const handler = async (request: IncomingMessage, response: ServerResponse) => {
    if (request.url === '/livez') return sendJson(request, response, { ok: true, program: 'store' });
    const path = publicPath(request.url ?? '');
    const name = path === undefined ? undefined : objectName(path);
    const opened = name === undefined ? undefined : await openObject(directory, name);
    if (name === undefined || opened === undefined) {
      log.debug({ path: request.url, status: 404 }, 'not found');
      return sendText(request, response, 404, 'Not found.', cacheControl(name, 404, clock.now()));
    }
    try {
      await sendObject(request, response, name, opened, clock);
    } finally {
      await opened.file.close();
    }
    log.debug({ path, status: response.statusCode }, 'served');
  };
  return startPlainServer({
    listen: options.listen,
    handler,
    log,
    ...(options.limits && { limits: options.limits }),
  });
}

async function checkDirectory(directory: string): Promise<void> {
  try {
    if ((await stat(join(directory, 'metadata'))).isDirectory()) return;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw fromSystemError(error, directory);
  }
  throw libError({
    code: 'E_FILE_MISSING',
    message: 'The directory holds no published repository.',
    where: directory,
    expected: 'a directory with metadata/ and targets/, such as R/public of a release repository',
    fix: 'Run "pilotage release init" and "pilotage release publish", and name its public/ directory.',
  });
}

async function openObject(directory: string, name: ObjectName): Promise<Opened | undefined> {
  let file: FileHandle;
  try {
    file = await open(join(directory, name.path), constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP' || code === 'EISDIR') return undefined;
    throw error;
  }
  try {
    const opened = await describe(file, name);
    if (opened === undefined) await file.close();
    return opened;
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function describe(file: FileHandle, name: ObjectName): Promise<Opened | undefined> {
  const info = await file.stat();
  if (!info.isFile()) return undefined;
  if (name.kind === 'hash-named') return { file, size: info.size, etag: `"${name.sha256}"` };
  if (name.kind === 'other' || info.size > MAX_METADATA_BYTES) {
    return {
      file,
      size: info.size,
      etag: `"${info.ino.toString(16)}-${info.size.toString(16)}-${info.mtimeMs}"`,
    };
  }
  const body = await file.readFile();
  const etag = `"${createHash('sha256').update(body).digest('hex')}"`;
  const opened: Opened = { file, size: body.length, etag, body };
  if (name.kind === 'timestamp') opened.expiresMs = expiry(body);
  return opened;
}

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

async function sendObject(
  request: IncomingMessage,
  response: ServerResponse,
  name: ObjectName,
  opened: Opened,
  clock: Clock,
): Promise<void> {
  const { size, etag, body } = opened;
  response.setHeader('cache-control', cacheControl(name, 200, clock.now(), opened.expiresMs));
  response.setHeader('etag', etag);
  response.setHeader('accept-ranges', 'bytes');
  response.setHeader('x-content-type-options', 'nosniff');
  if (matchesEtag(request.headers['if-none-match'], etag)) {
    response.writeHead(304).end();
    return;
  }
  const wanted = rangeApplies(request.headers['if-range'] as string | undefined, etag)
    ? request.headers.range
    : undefined;
  const range = byteRange(wanted, size);
  if (range.kind === 'unsatisfiable') {
    response.setHeader('content-range', `bytes */${size}`);
    response.removeHeader('etag');
    return sendText(request, response, 416, 'The range is outside of the file.', 'no-store');
  }
  const start = range.kind === 'part' ? range.start : 0;
  const end = range.kind === 'part' ? range.end : size - 1;
  if (range.kind === 'part') response.setHeader('content-range', `bytes ${start}-${end}/${size}`);
  response.writeHead(range.kind === 'part' ? 206 : 200, {
    'content-type': name.path.endsWith('.json') ? 'application/json' : 'application/octet-stream',
    'content-length': end - start + 1,
  });
  if (request.method === 'HEAD' || size === 0) response.end();
  else if (body !== undefined) response.end(body.subarray(start, end + 1));
  else
    await pipeline(
      opened.file.createReadStream({ start, end, autoClose: false, highWaterMark: 1 << 18 }),
      response,
    );
}
