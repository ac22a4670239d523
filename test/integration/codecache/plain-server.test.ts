import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import type { Answered } from '../../../codecache/http/observe-answer.ts';
import { startPlainServer } from '../../../codecache/http/plain-server.ts';
import type { ServerLimits } from '../../../codecache/http/request-server.ts';
import { silentLog } from '../../../lib/log.ts';
import { answersIn, converse } from './raw-http.ts';
import { get, waitUntil } from './web.ts';

/** More than the system takes for a client that reads nothing. */
const huge = Buffer.alloc(24 << 20);
const CONNECT = 'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n';
const asked = (path: string, fields = ''): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;

async function plainServer(t: TestContext, limits: Partial<ServerLimits> = {}, log = silentLog) {
  const answered: Answered[] = [];
  const server = await startPlainServer({
    listen: '127.0.0.1:0',
    handler: async (request, response) => {
      if (request.url !== '/never') response.end(request.url === '/huge' ? huge : 'small');
    },
    log,
    limits,
    observe: one => answered.push(one),
  });
  t.after(() => server.close(0));
  const open = async (): Promise<Socket> => {
    const port = Number(new URL(server.url).port);
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    t.after(() => void socket.destroy());
    await once(socket, 'connect');
    return socket;
  };
  return { server, answered, open };
}

test('CONNECT is refused and its connection closed, whatever the client does', async t => {
  const { server, answered, open } = await plainServer(t);
  const socket = await open();
  socket.write(CONNECT);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(socket, 'end');
  const refused = Buffer.concat(chunks);
  assert.equal(answersIn(refused)[0]!.status, 405);
  await waitUntil(() => server.connections() === 0, 'the connection is closed');
  assert.ok(socket.writable, 'by the server alone');
  assert.deepEqual(
    answered.map(({ method, status, bytes }) => ({ method, status, bytes })),
    [{ method: 'CONNECT', status: 405, bytes: refused.length }],
  );
});

test('a client that goes on with its header after it was told that it is too late is cut off', async t => {
  const { server, open } = await plainServer(t, { headerSeconds: 1 });
  const [fresh, later] = [await open(), await open()];
  fresh.write('GET / HTTP/1.1\r\nX-A: ');
  later.write(`${asked('/')}GET / HTTP/1.1\r\nX-A: `);
  const dripping = setInterval(() => {
    for (const socket of [fresh, later]) if (!socket.destroyed) socket.write('a');
  }, 100);
  t.after(() => clearInterval(dripping));
  for (const socket of [fresh, later]) socket.on('error', () => undefined).resume();
  await waitUntil(() => server.connections() === 0, 'both connections are closed');
});

test('a client that is cut off while its CONNECT waits for an answer before harms nobody', async t => {
  const { server, answered, open } = await plainServer(t);
  const socket = await open();
  socket.pause();
  socket.write(asked('/huge') + CONNECT);
  await waitUntil(() => socket.bytesRead > 0, 'the answer has begun');
  socket.resetAndDestroy();
  await waitUntil(() => server.connections() === 0, 'the connection is closed');
  assert.deepEqual(
    answered.map(({ method, complete }) => ({ method, complete })),
    [{ method: 'GET', complete: false }],
  );
  assert.equal((await get(server.url)).status, 200);
});

test('a client that leaves before its answer begins is not told as one that got a 200', async t => {
  const { answered, open } = await plainServer(t);
  const socket = await open();
  socket.write(asked('/') + asked('/never'));
  await waitUntil(() => answered.length === 1, 'the first is answered');
  socket.resetAndDestroy();
  await waitUntil(() => answered.length === 2, 'the second is told');
  const { status, bytes, complete } = answered[1]!;
  assert.deepEqual({ status, bytes, complete }, { status: 499, bytes: 0, complete: false });
});

test('what comes after the last answer of a connection is not answered, and not told as if it were', async t => {
  const { server, answered } = await plainServer(t);
  const sent = await converse(server.url, [`${asked('/', 'Connection: close\r\n')}nonsense\r\n\r\n`]);
  assert.equal(answersIn(sent).length, 1);
  assert.deepEqual(
    answered.map(({ status, bytes }) => ({ status, bytes })),
    [{ status: 200, bytes: sent.length }],
  );
});

test('what cannot be read is told after the answers before it, with the bytes that said so', async t => {
  const { server, answered } = await plainServer(t);
  const sent = await converse(server.url, [`${asked('/')}nonsense\r\n\r\n`]);
  assert.deepEqual(
    answered.map(({ status }) => status),
    [200, 400],
  );
  assert.equal(
    answered.reduce((sum, { bytes }) => sum + bytes, 0),
    sent.length,
  );
});

test('connections that are too many are refused, and the log says so, not once for each', async t => {
  const said: Record<string, unknown>[] = [];
  const log = pino({}, { write: line => void said.push(JSON.parse(line) as Record<string, unknown>) });
  const { server, open } = await plainServer(t, { maxConnections: 2 }, log);
  const held = [await open(), await open()];
  await waitUntil(() => server.connections() === 2, 'as many as may be are open');
  for (let i = 0; i < 3; i++) assert.equal((await (await open()).toArray()).length, 0);
  assert.deepEqual(
    said.map(({ msg, refused, most }) => ({ msg, refused, most })),
    [{ msg: 'connections are refused: as many as may be are open', refused: 1, most: 2 }],
  );
  for (const socket of held) socket.destroy();
  await waitUntil(() => server.connections() === 0, 'there is room again');
  assert.equal((await get(server.url)).status, 200);
});
