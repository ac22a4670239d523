import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { buildVersion } from '../../lib/build-version.ts';
import { PilotageError, fromSystemError, libError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { observeAnswer, unreadable } from './observe-answer.ts';
import type { Observer } from './observe-answer.ts';

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

/** Connections that wait to be accepted while a thousand nodes start at once; the kernel's somaxconn is the bound. */
const BACKLOG = 4096;

export type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

export interface PlainServer {
  /** `http://host:port`, with the port that was given or found. */
  url: string;
  /** Connections that are open now. */
  connections(): number;
  /** Takes no new connections, lets answers under way finish for at most `graceMs`, then cuts them. */
  close(graceMs?: number): Promise<void>;
}

/** `HOST:PORT`, or the file descriptor of a socket that is bound already and shared with other processes. */
export type Listen = string | { fd: number };

interface ServerOptions {
  listen: Listen;
  handler: Handler;
  log: Logger;
  limits?: Partial<ServerLimits>;
  /** Told of every answer when it has ended, also of those that `handler` never saw. */
  observe?: Observer | undefined;
}

/**
 * Starts a plain HTTP server for GET and HEAD only, bounded against slow and greedy clients. Other methods, bodies,
 * CONNECT, TRACE and upgrades are refused before `handler` sees them; what `handler` throws becomes a 500, or a 503
 * where the database is away. Every answer has X-Server-Version and Cache-Control.
 *
 * @throws E_PORT_IN_USE, E_ADDRESS_UNAVAILABLE, E_USAGE naming the address.
 */
export async function startPlainServer(options: ServerOptions): Promise<PlainServer> {
  const limits = { ...defaultLimits, ...options.limits };
  const where = typeof options.listen === 'string' ? parseListen(options.listen) : options.listen;
  const serve = (request: IncomingMessage, response: ServerResponse) =>
    void answer(request, response, options);
  const server = createServer(
    {
      maxHeaderSize: limits.maxHeaderBytes,
      headersTimeout: limits.headerSeconds * 1000,
      requestTimeout: limits.headerSeconds * 1000,
      keepAliveTimeout: limits.idleSeconds * 1000,
      connectionsCheckingInterval: 1000,
      highWaterMark: 1 << 18,
      noDelay: true,
      // Refused in answer(), with the header fields that every answer has.
      requireHostHeader: false,
    },
    serve,
  );
  server.timeout = limits.idleSeconds * 1000;
  server.maxConnections = limits.maxConnections;
  server.maxHeadersCount = 64;
  server.on('checkContinue', serve);
  server.on('checkExpectation', serve);
  server.on('connect', (request, socket) => {
    sendRaw(socket, '405 Method Not Allowed', 'Allow: GET, HEAD\r\n');
    options.observe?.(unreadable(socket as Socket, 405, 'CONNECT', request.url));
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => refuse(error, socket, options.observe));
  const open = countConnections(server);
  await listen(
    server,
    where,
    typeof options.listen === 'string' ? options.listen : `socket ${options.listen.fd}`,
  );
  const address = server.address() as AddressInfo;
  const shown = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    url: `http://${shown}:${address.port}`,
    connections: () => open.size,
    close: (graceMs = 5000) => closeServer(server, graceMs),
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, options: ServerOptions) {
  response.on('error', () => response.destroy());
  response.setHeader('x-server-version', buildVersion);
  if (options.observe) observeAnswer(request, response, options.observe);
  try {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      return sendText(request, response, 405, 'Only GET and HEAD.', 'no-store', true);
    }
    const { headers } = request;
    if (headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0') {
      return sendText(request, response, 400, 'A request here has no body.', 'no-store', true);
    }
    if (headers.expect !== undefined) {
      return sendText(request, response, 417, 'Nothing can be expected here.', 'no-store', true);
    }
    if (headers.host === undefined && request.httpVersion === '1.1') {
      return sendText(request, response, 400, 'A request of HTTP/1.1 names a host.', 'no-store', true);
    }
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

/** What cannot be read as a request never reaches {@link answer}. */
function refuse(error: NodeJS.ErrnoException, socket: Duplex, observe: Observer | undefined): void {
  if (!socket.writable || error.code === 'ECONNRESET') return void socket.destroy();
  const [status, words] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? [431, 'Request Header Fields Too Large']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'Request Timeout']
        : [400, 'Bad Request'];
  sendRaw(socket, `${status} ${words}`, '');
  observe?.(unreadable(socket as Socket, status));
}

/** An answer on a connection that is of no more use. */
function sendRaw(socket: Duplex, status: string, more: string): void {
  socket.on('error', () => socket.destroy());
  socket.end(
    `HTTP/1.1 ${status}\r\n${more}Cache-Control: no-store\r\nX-Server-Version: ${buildVersion}\r\n` +
      'Connection: close\r\nContent-Length: 0\r\n\r\n',
  );
}

/** A short text answer with explicit freshness; `close` ends the connection after it. */
export function sendText(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  text: string,
  cacheControl: string,
  close = false,
): void {
  const body = Buffer.from(`${text}\n`);
  response.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': body.length,
    'cache-control': cacheControl,
    'x-content-type-options': 'nosniff',
    ...(close ? { connection: 'close' } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** A JSON answer that is never kept. */
export function sendJson(
  request: IncomingMessage,
  response: ServerResponse,
  value: unknown,
  status = 200,
): void {
  const body = Buffer.from(`${JSON.stringify(value)}\n`);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': body.length,
    'cache-control': 'no-store',
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** `HOST:PORT` or `[v6]:PORT`. @throws E_USAGE */
export function parseListen(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw libError({
      code: 'E_USAGE',
      message: 'The address to listen on is not understood.',
      where: '--listen',
      expected: 'HOST:PORT, for example 127.0.0.1:8080 (port 0 takes any free port)',
      found: text,
      fix: 'Give a host and a port.',
    });
  }
  return { host: match[1] ?? match[2]!, port };
}

function countConnections(server: Server): ReadonlySet<Socket> {
  const open = new Set<Socket>();
  server.on('connection', socket => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  return open;
}

function listen(
  server: Server,
  where: { host: string; port: number } | { fd: number },
  name: string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => reject(fromSystemError(error, name));
    server.once('error', failed);
    server.listen({ ...where, backlog: BACKLOG }, () => {
      server.off('error', failed);
      resolve();
    });
  });
}

function closeServer(server: Server, graceMs: number): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(() => server.closeAllConnections(), graceMs);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}
