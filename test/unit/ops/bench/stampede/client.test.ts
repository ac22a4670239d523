import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { BodyReader, getOnce } from '../../../../../ops/bench/stampede/client.ts';
import type { Manner } from '../../../../../ops/bench/stampede/crowd.ts';

const body = Buffer.from('0123456789'.repeat(100));
const head = `HTTP/1.1 200 OK\r\nAge: 1\r\nContent-Length: ${body.length}\r\n\r\n`;
const answer = Buffer.concat([Buffer.from(head), body]);

test('An answer is taken wherever it is cut', () => {
  for (let cut = 0; cut <= answer.length; cut += 1) {
    const reader = new BodyReader(body);
    reader.take(answer.subarray(0, cut));
    assert.equal(reader.complete, cut === answer.length);
    reader.take(answer.subarray(cut));
    assert.ok(reader.complete);
  }
});

test('A wrong status, length or byte, or one byte more, is said', () => {
  const refused = (text: Buffer | string, reason: RegExp) =>
    assert.throws(() => new BodyReader(body).take(Buffer.from(text)), reason);
  refused('HTTP/1.1 503 Busy\r\n\r\n', /the answer HTTP\/1.1 503 Busy/);
  refused(head.replace('1000', '999'), /a length of 999, not 1000/);
  refused(head.replace('Content-Length', 'X-Length'), /a length of nothing/);
  refused('x'.repeat(20_000), /a head without an end/);
  const wrong = Buffer.from(answer);
  wrong[wrong.length - 1]! ^= 1;
  refused(wrong, /wrong bytes/);
  refused(Buffer.concat([answer, Buffer.from('x')]), /more bytes/);
});

/** One connection, on which `text` comes as the answer. */
async function get(t: TestContext, text: Buffer, manner: Manner = 'plain', deadlineMs = 5000) {
  const server = createServer(socket => {
    socket.on('error', () => undefined);
    socket.once('data', () => (text.length < answer.length ? socket.end(text) : socket.write(text)));
  });
  await new Promise<void>(resolve => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const place = { host: '127.0.0.1', port, localAddress: '127.0.0.9', path: 'targets/x' };
  return getOnce({ ...place, body, manner, leaveAtByte: 1, deadlineMs });
}

test('A client gets all of it, leaves on purpose, or says how far it came', async t => {
  assert.equal(await get(t, answer), 1000);
  assert.equal(await get(t, answer, 'slow'), 1000);
  assert.ok((await get(t, answer, 'leaves')) > 0);
  await assert.rejects(get(t, answer.subarray(0, head.length + 10)), /the connection ended after 10 bytes/);
});
