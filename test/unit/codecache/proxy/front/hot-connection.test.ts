import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import type { Answered } from '../../../../../codecache/http/observe-answer.ts';
import { defaultLimits } from '../../../../../codecache/http/request-server.ts';
import type { AnswerHead } from '../../../../../codecache/proxy/front/answer-head.ts';
import { HotAnswers } from '../../../../../codecache/proxy/front/hot-answers.ts';
import { HotConnection } from '../../../../../codecache/proxy/front/hot-connection.ts';
import { PlainRequests } from '../../../../../codecache/proxy/front/plain-request.ts';

const AHEAD_BYTES = 1 << 18;

/** A connection whose client takes what waits for it only when the test says so. */
class SlowSocket extends Duplex {
  readonly remoteAddress = '10.0.0.9';
  taken = 0;
  #waiting: (() => void) | undefined;

  constructor() {
    super({ writableHighWaterMark: AHEAD_BYTES, allowHalfOpen: true });
  }

  override _read(): void {}

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.taken += chunks.reduce((sum, { chunk }) => sum + chunk.length, 0);
    this.#waiting = done;
  }

  /** @returns false when nothing waited. */
  giveWay(): boolean {
    const done = this.#waiting;
    this.#waiting = undefined;
    done?.();
    return done !== undefined;
  }

  setTimeout(): this {
    return this;
  }
}

const turn = () => new Promise(resolve => setImmediate(resolve));
const request = (target: string): string => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;

function open(length: number) {
  const head: AnswerHead = {
    status: 200,
    contentType: 'application/octet-stream',
    cacheControl: 'max-age=60',
    etag: undefined,
    lastModified: undefined,
    vary: undefined,
    length,
    ranges: true,
    bornMs: 0,
    freshUntilMs: Infinity,
  };
  const answers = new HotAnswers({ via: '1.1 me', idleSeconds: 60 });
  answers.put('/hot', head, { body: Buffer.alloc(length), valid: () => true, touch: () => undefined });
  const socket = new SlowSocket();
  const seen = { answered: [] as Answered[], ended: [] as (string | undefined)[], draining: false };
  const connection = new HotConnection(socket as unknown as Socket, {
    requests: new PlainRequests(),
    answers,
    now: () => 1000,
    limits: defaultLimits,
    observe: answered => seen.answered.push({ ...answered }),
    draining: () => seen.draining,
    ended: (_connection, rest) => seen.ended.push(rest?.toString()),
  });
  return { socket, seen, connection };
}

test('a client that sends many requests and reads nothing costs one write ahead, and gets all when it reads', async () => {
  for (const length of [20_000, 300_000]) {
    const { socket, seen, connection } = open(length);
    assert.ok(connection.idle);
    const count = 200;
    socket.push(request('/hot').repeat(count));
    await turn();
    assert.ok(
      socket.taken + socket.writableLength <= 2 * (AHEAD_BYTES + length),
      `${socket.taken} bytes ahead`,
    );
    assert.equal(seen.answered.length, 0, 'nothing is told before it is written out');
    assert.ok(!connection.idle);
    while (socket.giveWay()) await turn();
    assert.equal(seen.answered.length, count);
    assert.ok(connection.idle);
    assert.ok(seen.answered.every(({ complete, raw, cache }) => complete && raw === true && cache === 'HIT'));
    assert.equal(
      seen.answered.reduce((sum, { bytes }) => sum + bytes, 0),
      socket.taken,
    );
    assert.deepEqual(seen.ended, []);
  }
});

test('what is not for it is handed over once, after the answers before it, with all that was read', async () => {
  const { socket, seen } = open(300_000);
  const rest = `${request('/cold')}${request('/hot')}GET`;
  socket.push(request('/hot') + rest);
  await turn();
  assert.deepEqual(seen.ended, [], 'the answer is still under way');
  while (socket.giveWay()) await turn();
  assert.deepEqual(seen.ended, [rest]);
  assert.equal(seen.answered.length, 1);
  for (const event of ['data', 'drain', 'end', 'error', 'timeout'])
    assert.equal(socket.listenerCount(event), 0, `${event} is another's matter`);
});

test('a request that is not whole, and any while the server drains, are handed over', async () => {
  const cut = open(10);
  cut.socket.push('GET /hot HTTP/1.1\r\nHost');
  await turn();
  assert.deepEqual(cut.seen.ended, ['GET /hot HTTP/1.1\r\nHost']);
  const drained = open(10);
  drained.seen.draining = true;
  drained.socket.push(request('/hot'));
  await turn();
  assert.deepEqual(drained.seen.ended, [request('/hot')]);
});

test('an answer that the client did not take whole is told as cut', async () => {
  const { socket, seen } = open(300_000);
  socket.push(request('/hot'));
  await turn();
  socket.destroy();
  await turn();
  assert.deepEqual(
    seen.answered.map(({ complete }) => complete),
    [false],
  );
  assert.deepEqual(seen.ended, [undefined]);
});

test('a client that ends its side after several requests has all answers, and then the end', async () => {
  const { socket, seen } = open(300_000);
  socket.push(request('/hot').repeat(3));
  socket.push(null);
  for (let turns = 0; turns < 20; turns++) {
    await turn();
    socket.giveWay();
  }
  assert.equal(seen.answered.length, 3);
  assert.equal(socket.writableEnded, true);
  const mixed = open(300_000);
  mixed.socket.push(request('/hot') + request('/cold'));
  mixed.socket.push(null);
  for (let turns = 0; turns < 20; turns++) {
    await turn();
    mixed.socket.giveWay();
  }
  assert.deepEqual(mixed.seen.ended, [request('/cold')]);
  assert.equal(mixed.socket.writableEnded, false, 'that is for whoever answers the last one');
});
