import { createServer } from 'node:net';
import { accountedSoFar } from '../../http/observe-answer.ts';
import type { Observer } from '../../http/observe-answer.ts';
import type { Front, FrontParts } from '../../http/plain-server.ts';
import { WRITE_AHEAD_BYTES } from '../../http/request-server.ts';
import type { HotAnswers } from './hot-answers.ts';
import { HotConnection } from './hot-connection.ts';
import { PlainRequests } from './plain-request.ts';

/**
 * Takes the connections of a cache, answers hits from memory on the raw socket, and gives each connection to node:http
 * with its first request that is anything else ({@link HotConnection}).
 */
export function startFront(
  { http, limits, draining }: FrontParts,
  { answers, now, observe }: { answers: HotAnswers; now: () => number; observe: Observer },
): Front {
  const requests = new PlainRequests();
  const open = new Set<HotConnection>();
  const ended = (connection: HotConnection, rest?: Buffer): void => {
    open.delete(connection);
    const { socket } = connection;
    if (rest === undefined) return;
    accountedSoFar(socket);
    // Paused, so that node:http is there before what was read is read again.
    socket.pause();
    socket.unshift(rest);
    http.emit('connection', socket);
    socket.resume();
  };
  const parts = { requests, answers, now, limits, observe, draining, ended };
  const server = createServer(
    // Half-open: a client may end its side after its request and still have its answer.
    { allowHalfOpen: true, noDelay: true, highWaterMark: WRITE_AHEAD_BYTES },
    socket => open.add(new HotConnection(socket, parts)),
  );
  return {
    server,
    closeIdleConnections: () => {
      for (const connection of open) if (connection.idle) connection.socket.destroy();
    },
  };
}
