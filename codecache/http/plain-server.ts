import { once } from 'node:events';
import type { Server as HttpServer } from 'node:http';
import type { AddressInfo, Server, Socket } from 'node:net';
import { fromSystemError, libError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import type { Observer } from './observe-answer.ts';
import { createRequestServer, defaultLimits } from './request-server.ts';
import type { Handler, ServerLimits } from './request-server.ts';

/** Connections that wait to be accepted while a thousand nodes start at once; the kernel's somaxconn is the bound. */
const BACKLOG = 4096;
/** Between looks for connections that have become idle while a server closes. */
const SWEEP_MS = 100;
/** Between two messages that connections are refused. */
const REFUSED_MS = 10_000;

export interface PlainServer {
  /** `http://host:port`, with the port that was given or found. */
  url: string;
  /** Connections that are open now. */
  connections(): number;
  /** Takes no new connections; every answer from now on is the last one of its connection. */
  drain(): void;
  /** Drains, closes idle connections, lets answers under way finish for at most `graceMs`, then cuts them. */
  close(graceMs?: number): Promise<void>;
}

/** `HOST:PORT`, or the file descriptor of a socket that is bound already and shared with other processes. */
export type Listen = string | { fd: number };

/** What takes the connections in place of node:http, and gives it those that it does not answer by itself. */
export interface Front {
  readonly server: Server;
  closeIdleConnections(): void;
}

export interface FrontParts {
  /** Takes a connection, for good, by its event 'connection'. */
  http: HttpServer;
  limits: ServerLimits;
  /** Once true, every request is for `http`, which says that its answer is the last. */
  draining: () => boolean;
}

interface ServerOptions {
  listen: Listen;
  handler: Handler;
  log: Logger;
  limits?: Partial<ServerLimits>;
  /** Told of every answer when it has ended, also of those that `handler` never saw. */
  observe?: Observer | undefined;
  front?: (parts: FrontParts) => Front;
}

/**
 * Starts a plain HTTP server for GET and HEAD only, bounded against slow and greedy clients ({@link createRequestServer}).
 *
 * @throws E_PORT_IN_USE, E_ADDRESS_UNAVAILABLE, E_USAGE naming the address.
 */
export async function startPlainServer(options: ServerOptions): Promise<PlainServer> {
  const limits = { ...defaultLimits, ...options.limits };
  const where = typeof options.listen === 'string' ? parseListen(options.listen) : options.listen;
  const name = typeof options.listen === 'string' ? options.listen : `socket ${options.listen.fd}`;
  let ended: Promise<void> | undefined;
  const draining = () => ended !== undefined;
  const http = createRequestServer({ ...options, limits, draining });
  const front = options.front?.({ http, limits, draining });
  const server = front?.server ?? http;
  server.maxConnections = limits.maxConnections;
  tellOfRefused(server, options.log);
  // node:http looks for headers that take too long from this event on.
  if (front !== undefined) http.emit('listening');
  const open = openConnections(server);
  await listen(server, where, name);

  const drain = (): Promise<void> => (ended ??= new Promise(resolve => server.close(() => resolve())));
  const address = server.address() as AddressInfo;
  const shown = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    url: `http://${shown}:${address.port}`,
    connections: () => open.size,
    drain: () => void drain(),
    close: async (graceMs = 5000) => {
      const closed = drain();
      const closeIdle = () => {
        http.closeIdleConnections();
        front?.closeIdleConnections();
      };
      closeIdle();
      const sweep = setInterval(closeIdle, SWEEP_MS);
      const cut = setTimeout(() => open.forEach(socket => socket.destroy()), graceMs);
      await closed;
      // The end of the last answers is told with the end of their connections, which comes a little later.
      for (const socket of open) await once(socket, 'close');
      clearInterval(sweep);
      clearTimeout(cut);
      if (front !== undefined) http.close();
    },
  };
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

function openConnections(server: Server): ReadonlySet<Socket> {
  const open = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  return open;
}

/** Says once in a while that connections are closed unheard: those beyond `maxConnections`. */
function tellOfRefused(server: Server, log: Logger): void {
  let refused = 0;
  let toldMs = -Infinity;
  server.on('drop', () => {
    refused += 1;
    if (performance.now() < toldMs + REFUSED_MS) return;
    log.warn({ refused, most: server.maxConnections }, 'connections are refused: as many as may be are open');
    refused = 0;
    toldMs = performance.now();
  });
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
