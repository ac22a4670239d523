import { test } from 'node:test';
import type { TestContext } from 'node:test';
import assert from 'node:assert/strict';
import { pino } from 'pino';
import { request } from 'undici';
import * as z from 'zod';
import { createHttpServer, listen, parseAddress } from '../../../lib/http-server.ts';
import type { HttpServer } from '../../../lib/http-server.ts';
import { libError } from '../../../lib/errors.ts';
import { silentLog } from '../../../lib/log.ts';
import { wireError } from '../../../lib/problem.ts';

async function start(t: TestContext, routes: (server: HttpServer) => void = () => {}) {
  const server = createHttpServer({ program: 'test', log: silentLog, bodyLimitBytes: 1000 });
  routes(server);
  const url = await listen(server, '127.0.0.1:0');
  t.after(() => server.close());
  return url;
}

async function post(url: string, body: string, type = 'application/json') {
  const reply = await request(url, { method: 'POST', body, headers: { 'content-type': type } });
  return {
    status: reply.statusCode,
    headers: reply.headers,
    problem: (await reply.body.json()) as Record<string, unknown>,
  };
}

const echo = (server: HttpServer) =>
  server.post(
    '/echo',
    { schema: { body: z.object({ cores: z.int().min(1) }) } },
    async request => request.body,
  );

test('every refusal is a problem with a stable code, a status of the table and a request id', async t => {
  const url = await start(t, echo);
  for (const [body, type, code, status] of [
    ['{"cores":0}', 'application/json', 'E_BAD_REQUEST', 400],
    ['{"cores":', 'application/json', 'E_BAD_REQUEST', 400],
    ['cores=1', 'application/x-www-form-urlencoded', 'E_MEDIA_TYPE', 415],
    [`{"cores":1,"x":"${'y'.repeat(2000)}"}`, 'application/json', 'E_TOO_LARGE', 413],
  ] as const) {
    const { status: got, problem, headers } = await post(`${url}/echo`, body, type);
    assert.equal(problem.code, code);
    assert.equal(got, status);
    assert.equal(problem.status, status);
    assert.match(String(headers['content-type']), /application\/problem\+json/);
    assert.match(String(problem.requestId), /^[0-9A-Z]{26}$/);
  }
  const missing = await post(`${url}/nowhere`, '{}');
  assert.equal(missing.problem.code, 'E_NO_SUCH_ROUTE');
});

test('a bad field is named', async t => {
  const url = await start(t, echo);
  const { problem } = await post(`${url}/echo`, '{"cores":"many"}');
  assert.match(String(problem.where), /cores/);
});

test('an unforeseen failure says nothing of the inside', async t => {
  const url = await start(t, server =>
    server.post('/echo', async () => {
      throw new Error('password=hunter2 at /srv/x.ts:3');
    }),
  );
  const { status, problem } = await post(`${url}/echo`, '{}');
  assert.equal(status, 500);
  assert.equal(problem.code, 'E_INTERNAL');
  assert.doesNotMatch(JSON.stringify(problem), /hunter2|x\.ts/);
});

test('an error of the inside is told to the log, not to the caller', async t => {
  const lines: string[] = [];
  const log = pino({ level: 'error' }, { write: (line: string) => void lines.push(line) });
  const server = createHttpServer({ program: 'test', log });
  server.post('/echo', async () => {
    throw libError({ code: 'E_DISK_FULL', message: 'The disk is full.', where: '/srv/state' });
  });
  const url = await listen(server, '127.0.0.1:0');
  t.after(() => server.close());
  const { status, problem } = await post(`${url}/echo`, '{}');
  assert.deepEqual([status, problem.code], [500, 'E_INTERNAL']);
  assert.doesNotMatch(JSON.stringify(problem), /disk|srv/);
  assert.equal(lines.length, 1);
  assert.match(lines[0]!, /E_DISK_FULL/);
  assert.match(lines[0]!, new RegExp(String(problem.requestId)));
});

test('an error of our own keeps its parts, and 503 says when to come back', async t => {
  const url = await start(t, server =>
    server.post('/echo', async () => {
      throw wireError('E_NOT_READY', 'no database', { rule: 'database', retryAfterSeconds: 7 });
    }),
  );
  const { status, problem, headers } = await post(`${url}/echo`, '{}');
  assert.equal(status, 503);
  assert.equal(problem.rule, 'database');
  assert.equal(headers['retry-after'], '7');
});

test('a port in use, a foreign address and nonsense are refused with words', async t => {
  const url = await start(t);
  const second = createHttpServer({ program: 'test', log: silentLog });
  t.after(() => second.close());
  await assert.rejects(listen(second, new URL(url).host), {
    code: 'E_PORT_IN_USE',
    where: new URL(url).host,
  });
  const third = createHttpServer({ program: 'test', log: silentLog });
  t.after(() => third.close());
  await assert.rejects(listen(third, '192.0.2.1:0'), { code: 'E_ADDRESS_UNAVAILABLE' });
  for (const bad of ['', 'localhost', ':80', 'host:99999', 'a b:1', 'http://x:1']) {
    assert.throws(() => parseAddress(bad), { code: 'E_USAGE' }, bad);
  }
  assert.deepEqual(parseAddress('[::1]:8'), { host: '::1', port: 8 });
});
