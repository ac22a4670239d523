import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { buildVersion } from '../../lib/build-version.ts';
import { PilotageError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { observeAnswer, unreadable } from './observe-answer.ts';
import type { Observer } from './observe-answer.ts';
import { sendText } from './short-answers.ts';

export interface ServerLimits {
  /** Seconds in which a client must have sent its header. */
  headerSeconds: number;
  /** Seconds without a byte in either direction after which a connection is closed; a slow reader is not idle. */
  idleSeconds: number;
  maxHeaderBytes: number;
  maxConnections: number;
}

export const defaultLimits: ServerLimits = {
  headerSeconds: 10,
  idleSeconds: 60,
  maxHeaderBytes: 8192,
  maxConnections: 8192,
};

/** Header fields of one request. */
export const MAX_FIELDS = 64;
/** Requests of one pipeline beyond the one that is answered. */
const MAX_WAITING = 64;
/** From the last answer of a refused client to the end of its connection. */
const LINGER_MS = 2000;
/** Bytes that wait for one client before whoever writes is told to wait. */
export const WRITE_AHEAD_BYTES = 1 << 18;

/** A valid Host: uri-host [ ":" port ] (RFC 9110 7.2, RFC 3986 3.2.2). */
export const HOST =
  /^(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?$/;

export type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

interface RequestServerOptions {
  handler: Handler;
  log: Logger;
  limits: ServerLimits;
  observe?: Observer | undefined;
  /** Once true, every answer says that it is the last one of its connection. */
  draining: () => boolean;
}

/**
 * A node:http server for GET and HEAD only, bounded against slow and greedy clients; the caller listens. Other methods,
 * bodies, CONNECT, TRACE and upgrades are refused before `handler` sees them; what `handler` throws becomes a 500, or a
 * 503 where the database is away. Every answer has X-Server-Version and Cache-Control.
 */
export function createRequestServer(options: RequestServerOptions): Server {
  const { limits } = options;
  const serve = (request: IncomingMessage, response: ServerResponse) =>
    void answer(request, response, options);
  const server = createServer(
    {
      maxHeaderSize: limits.maxHeaderBytes,
      headersTimeout: limits.headerSeconds * 1000,
      requestTimeout: limits.headerSeconds * 1000,
      keepAliveTimeout: limits.idleSeconds * 1000,
      connectionsCheckingInterval: 1000,
      highWaterMark: WRITE_AHEAD_BYTES,
      noDelay: true,
      // Refused in answer(), with the header fields that every answer has.
      requireHostHeader: false,
    },
    serve,
  );
  server.timeout = limits.idleSeconds * 1000;
  // node:http drops those above its limit; one more than ours is enough to refuse them.
  server.maxHeadersCount = MAX_FIELDS + 1;
  // A client that ends its side after its request still has its answer.
  (server as Server & { httpAllowHalfOpen: boolean }).httpAllowHalfOpen = true;
  server.on('checkContinue', serve);
  server.on('checkExpectation', serve);
  server.on('connect', (request, duplex) => {
    const socket = duplex as Socket;
    // Node leaves such a connection to this listener: without these, nobody hears its errors and nothing ends it.
    socket.on('error', () => socket.destroy());
    socket.setTimeout(limits.idleSeconds * 1000, () => socket.destroy());
    socket.resume();
    afterAnswers(socket, () => {
      const bytes = sendRaw(socket, '405 Method Not Allowed', 'Allow: GET, HEAD\r\n');
      options.observe?.(unreadable(socket, 405, bytes, 'CONNECT', request.url));
    });
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => refuse(error, socket, options.observe));
  return server;
}

async function answer(request: IncomingMessage, response: ServerResponse, options: RequestServerOptions) {
  response.on('error', () => response.destroy());
  const last: LastAnswer = { response, after: undefined };
  lastAnswers.set(request.socket, last);
  // Before Node's own listener, which may end the connection.
  response.prependOnceListener('finish', () => last.after?.());
  response.setHeader('x-server-version', buildVersion);
  if (options.draining()) response.setHeader('connection', 'close');
  if (options.observe) observeAnswer(request, response, options.observe);
  try {
    const refusal = refusalOf(request);
    if (refusal !== undefined) {
      if (refusal.status === 405) response.setHeader('allow', 'GET, HEAD');
      return sendText(request, response, refusal.status, refusal.text, 'no-store', true);
    }
    await turn(request, response);
    await options.handler(request, response);
  } catch (error) {
    if (response.destroyed || request.destroyed) return;
    options.log.error({ err: error, path: request.url }, 'request failed');
    if (response.headersSent) return void response.destroy();
    for (const name of ['etag', 'accept-ranges', 'content-range']) response.removeHeader(name);
    if (!(error instanceof PilotageError) || error.code !== 'E_DATABASE_UNREACHABLE') {
      return sendText(request, response, 500, 'The request failed here; the log says why.', 'no-store');
    }
    response.setHeader('retry-after', 5);
    sendText(request, response, 503, 'The database does not answer now.', 'no-store');
  }
}

/** Requests that wait on one connection for the answers before theirs. */
const waiting = new WeakMap<Socket, number>();

/**
 * Holds a request of a pipeline back until the answers before its own are sent: a connection costs one answer at a time,
 * however many requests it has sent. Who sends far more than that is let go.
 */
async function turn({ socket }: IncomingMessage, response: ServerResponse): Promise<void> {
  if (response.socket !== null) return;
  const before = waiting.get(socket) ?? 0;
  waiting.set(socket, before + 1);
  if (before >= MAX_WAITING) socket.destroy();
  await once(response, 'socket');
  waiting.set(socket, waiting.get(socket)! - 1);
}

/** What no handler is asked about, and the connection ends with. */
function refusalOf(request: IncomingMessage): { status: number; text: string } | undefined {
  const { headers, method, rawHeaders, httpVersion, httpVersionMajor } = request;
  if (httpVersionMajor !== 1) return { status: 505, text: 'Only HTTP/1.1 and HTTP/1.0.' };
  if (rawHeaders.length > 2 * MAX_FIELDS)
    return { status: 431, text: `At most ${MAX_FIELDS} header fields.` };
  const hosts = rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'host').length;
  if (hosts !== 1 && (hosts > 1 || httpVersion === '1.1'))
    return { status: 400, text: 'A request of HTTP/1.1 names a host, once.' };
  if (headers.host !== undefined && !HOST.test(headers.host))
    return { status: 400, text: 'The host that the request names is none.' };
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, text: 'Only GET and HEAD.' };
  if (headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0')
    return { status: 400, text: 'A request here has no body.' };
  // There is no body that 100 (Continue) would be for: RFC 9110 10.1.1 lets the answer come at once.
  if (headers.expect !== undefined && !/^100-continue$/i.test(headers.expect))
    return { status: 417, text: 'Nothing can be expected here.' };
  return undefined;
}

const UNREADABLE: Readonly<Record<string, [status: number, words: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout'],
};

/** What cannot be read as a request never reaches {@link answer}. */
function refuse(error: NodeJS.ErrnoException, socket: Duplex, observe: Observer | undefined): void {
  if (!socket.writable || error.code === 'ECONNRESET') return void socket.destroy();
  const [status, words] = UNREADABLE[error.code ?? ''] ?? [400, 'Bad Request'];
  afterAnswers(socket, () => {
    const bytes = sendRaw(socket, `${status} ${words}`, '');
    observe?.(unreadable(socket as Socket, status, bytes));
  });
}

interface LastAnswer {
  response: ServerResponse;
  /** What is to be sent after it. */
  after: (() => void) | undefined;
}

/** Of each connection the answer to the last request that could be read. */
const lastAnswers = new WeakMap<Duplex, LastAnswer>();

/** Answers go out in the order of requests, also the one after which the connection ends. */
function afterAnswers(socket: Duplex, send: () => void): void {
  const last = lastAnswers.get(socket);
  if (last === undefined) return send();
  const { response } = last;
  // What comes after a request that ends the connection is not looked at.
  if (!response.shouldKeepAlive || response.getHeader('connection') === 'close') return;
  if (response.writableFinished) send();
  else last.after ??= send;
}

/**
 * An answer on a connection that is of no more use, which is cut soon after: a client that goes on to send a byte now and
 * then would keep it. Not at once, or what it has sent already would cost it the answer (RFC 9112 9.6).
 *
 * @returns its bytes.
 */
function sendRaw(socket: Duplex, status: string, more: string): number {
  socket.on('error', () => socket.destroy());
  const cut = setTimeout(() => socket.destroy(), LINGER_MS).unref();
  socket.once('close', () => clearTimeout(cut));
  const head =
    `HTTP/1.1 ${status}\r\n${more}Cache-Control: no-store\r\nX-Server-Version: ${buildVersion}\r\n` +
    `Date: ${new Date().toUTCString()}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
  socket.end(head);
  return head.length;
}
