import type { Socket } from 'node:net';
import type { Answered, Observer } from '../../http/observe-answer.ts';
import type { ServerLimits } from '../../http/request-server.ts';
import type { BodyFile } from '../objects/body-file.ts';
import type { HotAnswer, HotAnswers } from './hot-answers.ts';
import type { PlainRequest, PlainRequests } from './plain-request.ts';

export interface HotParts {
  requests: PlainRequests;
  answers: HotAnswers;
  now: () => number;
  limits: ServerLimits;
  observe: Observer;
  /** Once true nothing is answered here any more. */
  draining: () => boolean;
  /** Called once: with what was read and not answered for a connection that is not for this path, or when it is closed. */
  ended: (connection: HotConnection, rest?: Buffer) => void;
}

const HEAD_END = '\r\n\r\n';
const NOTHING = Buffer.alloc(0);
/** Written between two calls of sendfile: when the system has taken it, it may take more. */
const PIECE_BYTES = 1 << 16;

/**
 * One connection on which hits from memory are answered without node:http. It reads nothing while an answer waits for
 * the client, so what it holds is bounded; the first request that is not plain or not hot ends it, in order, after the
 * answers before.
 */
export class HotConnection {
  readonly socket: Socket;
  readonly #parts: HotParts;
  readonly #remote: string;
  /** Answers handed to the socket that the system has not taken whole. */
  readonly #underWay: Answered[] = [];
  /** A body is on its way in pieces: nothing may come between. */
  #inPieces = false;
  /** Of that body, what the system has not been given. */
  #unsent = 0;
  /** The client has ended its side meanwhile. */
  #finished = false;
  #sinceMs = 0;
  #fresh = true;

  constructor(socket: Socket, parts: HotParts) {
    this.socket = socket;
    this.#parts = parts;
    this.#remote = socket.remoteAddress ?? '-';
    socket.setTimeout(parts.limits.headerSeconds * 1000, this.#cut);
    socket.on('data', this.#read);
    socket.on('drain', this.#written);
    socket.on('end', this.#finish);
    socket.on('error', this.#cut);
    socket.on('close', this.#closed);
  }

  /** True between two requests. */
  get idle(): boolean {
    return this.#underWay.length === 0;
  }

  readonly #read = (chunk: Buffer): void => {
    if (this.#fresh) {
      this.#fresh = false;
      // A second more than Keep-Alive says: the client that comes at the last moment is answered.
      this.socket.setTimeout((this.#parts.limits.idleSeconds + 1) * 1000);
    }
    this.#answer(chunk);
  };

  /** Answers the requests of a chunk until one is not for this path, or the client has to take what waits for it. */
  #answer(chunk: Buffer): void {
    const { socket } = this;
    const { requests, answers, now, draining } = this.#parts;
    const text = chunk.toString('latin1');
    const nowMs = now();
    this.#sinceMs = nowMs;
    let start = 0;
    let end = text.indexOf(HEAD_END) + HEAD_END.length;
    let plain = !draining();
    const several = end < text.length;
    if (several) socket.cork();
    while (plain && start < text.length && !socket.writableNeedDrain && !this.#inPieces) {
      const request = end < HEAD_END.length ? undefined : requests.read(text.slice(start, end));
      const hot = request && answers.get(request.target, nowMs);
      if (hot === undefined) plain = false;
      else {
        this.#send(request!, hot);
        start = end;
        end = text.indexOf(HEAD_END, start) + HEAD_END.length;
      }
    }
    if (several) socket.uncork();
    this.#settle(chunk.subarray(start));
  }

  #send({ target, userAgent }: PlainRequest, { head, first, rest, file }: HotAnswer): void {
    const { socket } = this;
    if (rest === undefined) socket.write(first);
    else if (file !== undefined && socket.writableCorked === 0 && socket.writableLength === 0) {
      socket.write(first);
      file.hold();
      this.#sendFile(file, rest, 0);
    } else {
      socket.cork();
      socket.write(first);
      socket.write(rest);
      socket.uncork();
    }
    this.#underWay.push({
      remote: this.#remote,
      method: 'GET',
      target,
      status: head.status,
      bytes: first.length + (rest?.length ?? 0),
      milliseconds: 0,
      complete: true,
      userAgent,
      range: undefined,
      cache: 'HIT',
      raw: true,
    });
  }

  /**
   * Sends the rest of a body from its file. The system says nothing when it can take more, so a piece of it goes by an
   * ordinary write, which does, in between.
   */
  #sendFile(file: BodyFile, body: Buffer, from: number): void {
    const { socket } = this;
    // What is still in the stream comes first.
    const at = socket.writableLength === 0 ? from + file.send(socket, from) : from;
    this.#inPieces = at < body.length;
    if (!this.#inPieces) return file.release();
    const end = Math.min(at + PIECE_BYTES, body.length);
    this.#unsent = body.length - end;
    socket.write(body.subarray(at, end), error => {
      if (error) return file.release();
      this.#sendFile(file, body, end);
      if (this.#inPieces) return;
      if (this.#finished) socket.end();
      this.#written();
    });
  }

  /** Waits until the system has taken what was written, if it has not; then `rest`, if any, is for node:http. */
  #settle(rest: Buffer): void {
    const { socket } = this;
    if (socket.destroyed) return;
    if (this.#inPieces || socket.writableLength > 0 || socket.writableNeedDrain) {
      // Put back, what was not answered yet comes again, and the end of the client's side only after it.
      socket.pause();
      if (rest.length > 0) socket.unshift(rest);
      // Too little for 'drain': a mark in the stream tells instead.
      if (!this.#inPieces && !socket.writableNeedDrain) socket.write(NOTHING, this.#written);
      return;
    }
    this.#tell(true);
    if (rest.length > 0) this.#handOver(rest);
  }

  readonly #written = (): void => {
    if (this.#inPieces || this.#underWay.length === 0 || this.socket.destroyed) return;
    this.#tell(true);
    this.socket.resume();
  };

  #tell(complete: boolean): void {
    const milliseconds = Math.max(0, this.#parts.now() - this.#sinceMs);
    const last = this.#underWay.at(-1);
    if (last !== undefined && this.#inPieces) last.bytes -= this.#unsent;
    for (const answered of this.#underWay) {
      answered.milliseconds = milliseconds;
      answered.complete = complete;
      this.#parts.observe(answered);
    }
    this.#underWay.length = 0;
  }

  #handOver(rest: Buffer): void {
    const { socket } = this;
    socket.setTimeout(0, this.#cut);
    socket.off('data', this.#read);
    socket.off('drain', this.#written);
    socket.off('end', this.#finish);
    socket.off('error', this.#cut);
    socket.off('close', this.#closed);
    this.#parts.ended(this, rest);
  }

  readonly #finish = (): void => {
    if (this.#inPieces) this.#finished = true;
    else this.socket.end();
  };

  readonly #cut = (): void => void this.socket.destroy();

  readonly #closed = (): void => {
    this.#tell(false);
    this.#parts.ended(this);
  };
}
