import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** One answer, when it has ended. Texts are as the client sent them: {@link printable} makes them fit for a log. */
export interface Answered {
  remote: string;
  /** `-` where no request could be read. */
  method: string;
  target: string;
  /** {@link NOT_BEGUN} where the connection ended before there was one. */
  status: number;
  /** Given to the connection, header included; of an answer that was cut the client may have fewer. */
  bytes: number;
  milliseconds: number;
  /** False when the connection ended before the answer. */
  complete: boolean;
  userAgent?: string | undefined;
  range?: string | undefined;
  /** What a cache says of how the answer came about: its X-Cache. */
  cache?: string | undefined;
  /** Answered without node:http. */
  raw?: boolean;
}

export type Observer = (answered: Answered) => void;

/** As nginx logs it: no status was sent. */
const NOT_BEGUN = 499;

/** Bytes of each connection that were accounted to an answer. */
const accounted = new WeakMap<Socket, number>();

/** What was written on this connection until now belongs to answers that were observed elsewhere. */
export const accountedSoFar = (socket: Socket): void => void accounted.set(socket, socket.bytesWritten);

/** Tells `observe` of an answer once, when it is sent or its connection is gone. */
export function observeAnswer(request: IncomingMessage, response: ServerResponse, observe: Observer): void {
  const started = performance.now();
  const { socket } = request;
  const remote = socket.remoteAddress ?? '-';
  let told = false;
  const tell = () => {
    if (told) return;
    told = true;
    const written = socket.bytesWritten;
    const bytes = written - (accounted.get(socket) ?? 0);
    accounted.set(socket, written);
    observe({
      remote,
      method: request.method ?? '-',
      target: request.url ?? '-',
      status: response.headersSent ? response.statusCode : NOT_BEGUN,
      bytes,
      milliseconds: performance.now() - started,
      complete: response.writableFinished,
      userAgent: request.headers['user-agent'],
      range: request.headers.range,
      cache: response.getHeader('x-cache') as string | undefined,
    });
  };
  // Before Node's own listener, which gives the connection to the next answer.
  response.prependListener('finish', tell);
  response.once('close', tell);
}

/** An answer to what was not, or not whole, a request. */
export const unreadable = (
  socket: Socket,
  status: number,
  bytes: number,
  method = '-',
  target = '-',
): Answered => ({
  remote: socket.remoteAddress ?? '-',
  method,
  target,
  status,
  bytes,
  milliseconds: 0,
  complete: true,
});

/** A client's text for a log line: bounded, and nothing in it that a terminal or a reader of JSON would act on. */
export const printable = (text: string, maxLength: number): string =>
  text
    .slice(0, maxLength)
    .replaceAll(/[^\x20-\x7e]/g, character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
