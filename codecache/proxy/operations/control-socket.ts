import { unlink } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { fromSystemError, libError, partsOf } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/log.ts';
import type { VerifyProgress } from '../objects/verify-objects.ts';
import { controlPath } from './cache-directory.ts';
import type { CacheStats } from './cache-stats.ts';

/** What is to be removed: one object, all metadata answers, or both all objects and all answers. */
export type Purge = { object: string } | { metadata: true } | { all: true };

export interface Purged {
  objects: number;
  answers: number;
}

export interface AllStats {
  total: CacheStats;
  /** Of each process, by its id. */
  processes: { pid: number; stats: CacheStats }[];
}

/** What the owner of a cache may ask of it while it runs. */
export interface Control {
  stats(): Promise<AllStats>;
  purge(purge: Purge): Promise<Purged>;
  verify(
    onProgress: (progress: Readonly<VerifyProgress>) => void,
    signal: AbortSignal,
  ): Promise<VerifyProgress>;
  /** Whether /readyz says that balancers shall go elsewhere; requests are answered all the same. */
  drain(undo: boolean): Promise<void>;
  /** New processes by the configuration as it is now; the old ones finish what they do. */
  restart(): Promise<{ processes: number }>;
}

export interface ControlSocket {
  close(): Promise<void>;
}

const MAX_BODY_BYTES = 4096;

/**
 * Opens `DIR/control`, for the user of the cache only: HTTP with JSON bodies. `verify` answers with a line of JSON for
 * each step and one with the report. The caller has the directory for itself, so a socket that is there is of a dead one.
 *
 * @throws E_PERMISSION and the like naming the socket.
 */
export async function openControlSocket(
  directory: string,
  control: Control,
  log: Logger,
): Promise<ControlSocket> {
  const at = await controlPath(directory);
  await unlink(at.path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw fromSystemError(error, join(directory, 'control'));
  });
  const server = createServer((request, response) => {
    response.on('error', () => response.destroy());
    answer(request, response, control).catch(error => {
      log.warn({ err: error, call: request.url }, 'a call over the control socket failed');
      if (response.headersSent) response.destroy();
      else send(response, 500, partsOf(error));
    });
  });
  server.requestTimeout = 10_000;
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', error => reject(fromSystemError(error, at.path)));
      server.listen(at.path, resolve);
    });
  } finally {
    process.umask(before);
  }
  return {
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve(at[Symbol.asyncDispose]()));
        server.closeAllConnections();
      }),
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, control: Control): Promise<void> {
  const call = `${request.method} ${request.url}`;
  const body = await readBody(request);
  switch (call) {
    case 'GET /stats':
      return send(response, 200, await control.stats());
    case 'POST /purge':
      return send(response, 200, await control.purge(readPurge(body)));
    case 'POST /verify': {
      const stop = new AbortController();
      response.on('close', () => stop.abort(new DOMException('nobody waits for it any more', 'AbortError')));
      response.writeHead(200, { 'content-type': 'application/jsonl' });
      const line = (value: object) => void response.write(`${JSON.stringify(value)}\n`);
      try {
        const report = await control.verify(({ objects, bytes }) => line({ objects, bytes }), stop.signal);
        line({ report });
      } catch (error) {
        line({ error: partsOf(error) });
      }
      return void response.end();
    }
    case 'POST /drain':
      await control.drain(body.undo === true);
      return send(response, 200, { outOfService: body.undo !== true });
    case 'POST /restart':
      return send(response, 200, await control.restart());
    default:
      return send(response, 404, partsOf(wrongCall(call)));
  }
}

function send(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(value)}\n`);
}

async function readBody(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw wrongCall('a body over the limit');
    chunks.push(chunk);
  }
  if (bytes === 0) return {};
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<string, unknown>;
  } catch {
    throw wrongCall('a body that is not JSON');
  }
}

function readPurge({ object, metadata, all }: Record<string, unknown>): Purge {
  if (typeof object === 'string' && /^[0-9a-f]{64}$/.test(object)) return { object };
  if (metadata === true) return { metadata: true };
  if (all === true) return { all: true };
  throw wrongCall('a purge of nothing');
}

const wrongCall = (found: string) =>
  libError({
    code: 'E_PROTOCOL',
    message: 'The call over the control socket is not understood.',
    found,
    fix: 'Use the "pilotage cache" of the same version.',
  });
