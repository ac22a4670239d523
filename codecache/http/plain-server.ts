import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fromSystemError, libError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';

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

export type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

export interface PlainServer {
  /** `http://host:port`, with the port that was given or found. */
  url: string;
  /** Takes no new connections, lets answers under way finish for at most `graceMs`, then cuts them. */
  close(graceMs?: number): Promise<void>;
}

/**
 * Starts a plain HTTP server for GET and HEAD only, bounded against slow and greedy clients. Other methods, bodies,
 * CONNECT, TRACE and upgrades are refused before `handler` sees them; what `handler` throws becomes a 500.
 *
 * @throws E_PORT_IN_USE, E_ADDRESS_UNAVAILABLE, E_USAGE naming the address.
 */
export async function startPlainServer(options: {
  listen: string;
  handler: Handler;
  log: Logger;
  limits?: Partial<ServerLimits>;
}): Promise<PlainServer> {
  const limits = { ...defaultLimits, ...options.limits };
  const { host, port } = parseListen(options.listen);
  const server = createServer(
    {
      maxHeaderSize: limits.maxHeaderBytes,
      headersTimeout: limits.headerSeconds * 1000,
      requestTimeout: limits.headerSeconds * 1000,
      keepAliveTimeout: limits.idleSeconds * 1000,
      connectionsCheckingInterval: 1000,
      highWaterMark: 1 << 18,
      noDelay: true,
    },
    (request, response) => void answer(request, response, options.handler, options.log),
  );
  server.timeout = limits.idleSeconds * 1000;
  server.maxConnections = limits.maxConnections;
  server.maxHeadersCount = 64;
  server.on('connect', (_request, socket) => {
    socket.on('error', () => socket.destroy());
    socket.end(
      'HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nConnection: close\r\nContent-Length: 0\r\n\r\n',
    );
  });
  await listen(server, host, port, options.listen);
  const address = server.address() as AddressInfo;
  const shown = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    url: `http://${shown}:${address.port}`,
    close: (graceMs = 5000) => closeServer(server, graceMs),
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, handler: Handler, log: Logger) {
  response.on('error', () => response.destroy());
  try {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      return sendText(request, response, 405, 'Only GET and HEAD.', 'no-store', true);
    }
    if (
      request.headers['transfer-encoding'] !== undefined ||
      (request.headers['content-length'] ?? '0') !== '0'
    ) {
      return sendText(request, response, 400, 'A request here has no body.', 'no-store', true);
    }
    await handler(request, response);
  } catch (error) {
    if (response.destroyed || request.destroyed) return;
    log.error({ err: error, path: request.url }, 'request failed');
    if (response.headersSent) response.destroy();
    else sendText(request, response, 500, 'The request failed here; the log says why.', 'no-store');
  }
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
export function sendJson(request: IncomingMessage, response: ServerResponse, value: unknown): void {
  const body = Buffer.from(`${JSON.stringify(value)}\n`);
  response.writeHead(200, {
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

function listen(server: Server, host: string, port: number, where: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => reject(fromSystemError(error, where));
    server.once('error', failed);
    server.listen({ host, port }, () => {
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
