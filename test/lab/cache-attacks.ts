import { connect } from 'node:net';
import type { Socket } from 'node:net';

export interface RawAnswer {
  status: number;
  /** The header as it came, request line and all. */
  head: string;
  body: Buffer;
}

export interface Exchange {
  answers: RawAnswer[];
  /** Whether the other side ended the connection. */
  closed: boolean;
}

/** A connection with a cache, on which anything can be sent; ends with the process at the latest. */
export function rawSocket(url: string): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.on('error', () => socket.destroy());
  return socket;
}

/**
 * Sends bytes as they are and gives what comes back, until so many answers are whole, the other side closes, or nothing
 * came for `quietMs`.
 */
export function exchange(
  url: string,
  bytes: string | Buffer,
  { answers = Number.POSITIVE_INFINITY, quietMs = 400 }: { answers?: number; quietMs?: number } = {},
): Promise<Exchange> {
  const socket = rawSocket(url);
  const chunks: Buffer[] = [];
  return new Promise(resolve => {
    const done = (closed: boolean) => {
      socket.destroy();
      resolve({ answers: parseAnswers(Buffer.concat(chunks)), closed });
    };
    socket.setTimeout(quietMs, () => done(false));
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      if (Number.isFinite(answers) && parseAnswers(Buffer.concat(chunks)).length >= answers) done(false);
    });
    socket.on('close', () => done(true));
    socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  });
}

/** The answers that are whole, each with a Content-Length, as all of a cache's have. */
export function parseAnswers(bytes: Buffer): RawAnswer[] {
  const answers: RawAnswer[] = [];
  for (let at = 0; ;) {
    const end = bytes.indexOf('\r\n\r\n', at);
    if (end < 0) return answers;
    const head = bytes.toString('latin1', at, end);
    const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1] ?? 0);
    const length =
      status === 304 || status < 200 ? 0 : Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
    const body = bytes.subarray(end + 4, end + 4 + length);
    if (body.length < length) return answers;
    answers.push({ status, head, body });
    at = end + 4 + length;
  }
}

/** A plain request for a path. */
export const get = (path: string, fields = ''): string =>
  `GET /${path} HTTP/1.1\r\nHost: cache\r\n${fields}\r\n`;

const smuggled = (path: string): string => `GET /${path} HTTP/1.1\r\nHost: cache\r\nX-Smuggled: 1\r\n\r\n`;

/**
 * Requests that two readers may take for different ones (RFC 9112 11.2), each with a request for `inner` in what may be
 * its body; by what is wrong with them.
 */
export function ambiguousRequests(outer: string, inner: string): Map<string, string> {
  const hidden = smuggled(inner);
  const size = hidden.length;
  const chunked = `${size.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`;
  const of = (fields: string, body: string, method = 'GET') =>
    `${method} /${outer} HTTP/1.1\r\nHost: cache\r\n${fields}\r\n${body}`;
  return new Map(
    Object.entries({
      'a body with GET': of(`Content-Length: ${size}\r\n`, hidden),
      'a body with POST': of(`Content-Length: ${size}\r\n`, hidden, 'POST'),
      'a body with HEAD': of(`Content-Length: ${size}\r\n`, hidden, 'HEAD'),
      'a chunked body': of('Transfer-Encoding: chunked\r\n', chunked),
      'CL.TE': of('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${hidden}`),
      'TE.CL': of('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n', chunked),
      'two lengths': of(`Content-Length: 0\r\nContent-Length: ${size}\r\n`, hidden),
      'a list of lengths': of(`Content-Length: 0, ${size}\r\n`, hidden),
      'a length with a sign': of(`Content-Length: +${size}\r\n`, hidden),
      'a negative length': of('Content-Length: -1\r\n', hidden),
      'a hexadecimal length': of(`Content-Length: 0x${size.toString(16)}\r\n`, hidden),
      'a space before the colon': of(`Content-Length : ${size}\r\n`, hidden),
      'a folded length': of(`Content-Length:\r\n ${size}\r\n`, hidden),
      'a folded encoding': of('Transfer-Encoding:\r\n chunked\r\n', chunked),
      'an encoding with a tab': of('Transfer-Encoding:\tchunked\r\n', chunked),
      'an encoding with a vertical tab': of('Transfer-Encoding: \x0bchunked\r\n', chunked),
      'an unknown encoding': of('Transfer-Encoding: xchunked\r\n', chunked),
      'two encodings': of('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n', chunked),
      'an encoding that is not last': of('Transfer-Encoding: chunked, identity\r\n', chunked),
      'an encoding with HTTP/1.0': `GET /${outer} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}`,
      'a bare line feed': `GET /${outer} HTTP/1.1\nHost: cache\nContent-Length: ${size}\n\n${hidden}`,
      'a bare carriage return': of(`X: y\rContent-Length: ${size}\r\n`, hidden),
      'a NUL in a field': of(`X: y\0Content-Length: ${size}\r\n`, hidden),
      'a field without a colon': of('Content-Length\r\n', hidden),
      'a line that begins with a space': `GET /${outer} HTTP/1.1\r\n X: y\r\nHost: cache\r\n\r\n${hidden}`,
      'the preface of HTTP/2': `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${hidden}`,
      'an expectation': of(`Expect: 100-continue\r\nContent-Length: ${size}\r\n`, hidden),
      'two hosts': of('Host: other\r\n', hidden),
      'no host': `GET /${outer} HTTP/1.1\r\n\r\n${hidden}`,
      'a chunk with a long extension': of(
        'Transfer-Encoding: chunked\r\n',
        `1;${'x'.repeat(20_000)}\r\nz\r\n0\r\n\r\n${hidden}`,
      ),
      'a chunk of more than all': of('Transfer-Encoding: chunked\r\n', `fffffffffffffffff\r\n${hidden}`),
    }),
  );
}
