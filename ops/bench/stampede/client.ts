import { connect } from 'node:net';
import type { Manner } from './crowd.ts';

const HEAD_END = Buffer.from('\r\n\r\n');
const MAX_HEAD_BYTES = 16_384;
/** All sockets of a process read into this: what has been read is compared before the next read. */
const shared = Buffer.allocUnsafe(1 << 18);
const SLOW_PAUSE_MS = 200;

export interface ClientTask {
  host: string;
  port: number;
  localAddress: string;
  path: string;
  body: Buffer;
  manner: Manner;
  /** Where `leaves` goes away. */
  leaveAtByte: number;
  deadlineMs: number;
}

/**
 * One GET on a connection of its own, each byte compared as it comes.
 *
 * @returns how many bytes of the body it got.
 * @throws Error saying what came in the place of the body, and where.
 */
export function getOnce(task: ClientTask): Promise<number> {
  return new Promise((resolve, reject) => {
    const reader = new BodyReader(task.body);
    const end = (outcome: Error | number) => {
      clearTimeout(timer);
      clearTimeout(pause);
      socket.destroy();
      if (typeof outcome === 'number') resolve(outcome);
      else reject(outcome);
    };
    let pause: NodeJS.Timeout | undefined;
    const timer = setTimeout(
      () => end(new Error(`${reader.at} bytes within ${task.deadlineMs} ms`)),
      task.deadlineMs,
    );
    const socket = connect({
      host: task.host,
      port: task.port,
      localAddress: task.localAddress,
      onread: {
        buffer: shared,
        callback(count) {
          try {
            reader.take(shared.subarray(0, count));
          } catch (error) {
            end(error as Error);
            return false;
          }
          if (reader.complete || (task.manner === 'leaves' && reader.at >= task.leaveAtByte)) {
            end(reader.at);
            return false;
          }
          if (task.manner !== 'slow') return true;
          pause = setTimeout(() => socket.resume(), SLOW_PAUSE_MS);
          return false;
        },
      },
    });
    socket.on('error', error => end(error));
    socket.on('close', () => end(new Error(`the connection ended after ${reader.at} bytes`)));
    socket.write(
      `GET /${task.path} HTTP/1.1\r\nHost: ${task.host}:${task.port}\r\nConnection: close\r\n\r\n`,
    );
  });
}

/** Takes the bytes of an answer and compares its body with the known one. */
export class BodyReader {
  readonly #body: Buffer;
  #head: Buffer | undefined = Buffer.alloc(0);
  /** Bytes of the body that came, all right. */
  at = 0;

  constructor(body: Buffer) {
    this.#body = body;
  }

  get complete(): boolean {
    return this.#head === undefined && this.at === this.#body.length;
  }

  /** @throws Error saying what is not as it must be. */
  take(bytes: Buffer): void {
    let body = bytes;
    if (this.#head !== undefined) {
      const head = Buffer.concat([this.#head, bytes]);
      const end = head.indexOf(HEAD_END);
      this.#head = end < 0 ? head : undefined;
      if (end < 0) {
        if (head.length > MAX_HEAD_BYTES) throw new Error('a head without an end');
        return;
      }
      checkHead(head.toString('latin1', 0, end + 2), this.#body.length);
      body = head.subarray(end + HEAD_END.length);
    }
    if (this.at + body.length > this.#body.length) throw new Error('more bytes than there are');
    if (this.#body.compare(body, 0, body.length, this.at, this.at + body.length) !== 0)
      throw new Error(`wrong bytes at ${this.at} or up to ${body.length} behind it`);
    this.at += body.length;
  }
}

function checkHead(head: string, bytes: number): void {
  const status = head.slice(0, head.indexOf('\r\n'));
  if (!status.startsWith('HTTP/1.1 200 ')) throw new Error(`the answer ${status.slice(0, 60)}`);
  const length = /^content-length: *(\d+)\r$/im.exec(head)?.[1];
  if (Number(length) !== bytes) throw new Error(`a length of ${length ?? 'nothing'}, not ${bytes}`);
}
