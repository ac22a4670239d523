import { connect } from 'node:net';

export interface RawAnswer {
  status: number;
  /** As sent, one line each. */
  head: string;
  body: Buffer;
}

/**
 * Sends bytes in as many segments as are given, ends the own side of the connection, and takes all that comes until the
 * other side ends, too: whoever answers half-closed clients has said all it has to say then.
 *
 * @param enough tells that nothing more is wanted: the own side is ended then only, for servers that give up a client
 *   that has ended its side.
 */
export function converse(
  url: string,
  segments: readonly string[],
  enough?: (received: Buffer) => boolean,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    let received = Buffer.alloc(0);
    const socket = connect({ host: hostname, port: Number(port), noDelay: true, allowHalfOpen: true });
    const overdue = setTimeout(
      () => socket.destroy(new Error(`no end of the answer in 15 s: ${segments.join('')}`)),
      15_000,
    );
    // Who refuses a request and closes while more of it comes, resets the connection after its answer.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') reject(error);
    });
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (enough?.(received) === true) socket.end();
    });
    socket.on('end', () => socket.destroy());
    socket.on('close', () => {
      clearTimeout(overdue);
      resolve(received);
    });
    const send = (index: number): void => {
      const segment = segments[index];
      // The turn of the loop lets a segment go out by itself.
      if (segment !== undefined)
        socket.write(Buffer.from(segment, 'latin1'), () => setImmediate(send, index + 1));
      else if (enough === undefined || enough(received)) socket.end();
    };
    socket.on('connect', () => send(0));
  });
}

/**
 * Takes a stream of answers apart by their own framing.
 *
 * @param bodiless whether the answer at an index is to HEAD.
 * @throws Error where bytes are left that are no answer, or a body is shorter than announced.
 */
export function answersIn(bytes: Buffer, bodiless: (index: number) => boolean = () => false): RawAnswer[] {
  const answers: RawAnswer[] = [];
  let rest = bytes;
  while (rest.length > 0) {
    const end = rest.indexOf('\r\n\r\n');
    const head = rest.toString('latin1', 0, end + 2);
    const status = Number(/^HTTP\/1\.[01] (\d{3}) [ -~]*\r\n/.exec(head)?.[1]);
    if (end < 0 || !(status >= 100)) throw new Error(`no answer: ${rest.toString('latin1').slice(0, 200)}`);
    rest = rest.subarray(end + 4);
    const announced = /^content-length: *(\d+)\r$/im.exec(head)?.[1];
    const none = bodiless(answers.length) || status === 304 || status < 200;
    const length = none ? 0 : Number(announced ?? rest.length);
    if (rest.length < length) throw new Error(`a body of ${rest.length} bytes instead of ${length}`);
    answers.push({ status, head, body: rest.subarray(0, length) });
    rest = rest.subarray(length);
  }
  return answers;
}
