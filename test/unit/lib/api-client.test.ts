import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createApiClient } from '../../../lib/api-client.ts';
import type { ApiClient } from '../../../lib/api-client.ts';
import type { PilotageError } from '../../../lib/errors.ts';
import { toProblem, wireError } from '../../../lib/problem.ts';
import { newId } from '../../../lib/ids.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** Two real servers whose behaviour each test sets. */
const servers: Server[] = [];
const handlers: Handler[] = [() => {}, () => {}];
const seen: { server: number; key: string | undefined }[] = [];
let client: ApiClient;

const killed = { serverTimeMs: 1, instance: 'test', jobId: newId(), state: 'cancelled' };
const answer = (status: number, value: unknown, headers: Record<string, string> = {}): Handler => {
  return (_request, response) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
};
const refuse = (code: Parameters<typeof wireError>[0], headers: Record<string, string> = {}): Handler => {
  const problem = toProblem(wireError(code, 'said no', { rule: 'some-rule', fix: 'do this' }), 'r1');
  return answer(problem.status, problem, headers);
};
const kill = (options: { patienceSeconds?: number; idempotencyKey?: string } = {}) =>
  client.call('killJob', { params: { jobId: killed.jobId }, body: {}, ...options });

const urls = () => servers.map(server => `http://127.0.0.1:${(server.address() as AddressInfo).port}`);

before(async () => {
  for (const index of [0, 1]) {
    const server = createServer((request, response) => {
      seen.push({ server: index, key: request.headers['idempotency-key'] as string | undefined });
      request.resume().on('end', () => handlers[index]!(request, response));
    });
    await new Promise<void>(resolve => {
      server.listen(0, '127.0.0.1', resolve);
    });
    servers.push(server);
  }
});
after(() => servers.forEach(server => server.close()));

beforeEach(async t => {
  seen.length = 0;
  client = createApiClient({
    servers: urls(),
    tls: { ca: '' },
    timeoutSeconds: 5,
  });
  (t as { after(fn: () => Promise<void>): void }).after(() => client.close());
});

test('an answer of the contract comes back parsed', async () => {
  handlers[0] = answer(200, { ...killed, somethingNew: true });
  assert.deepEqual(await kill(), killed);
});

test('a server that is not ready is passed over, with the same idempotency key', async () => {
  handlers[0] = refuse('E_NOT_READY', { 'retry-after': '1' });
  handlers[1] = answer(200, killed);
  await kill();
  assert.deepEqual(
    seen.map(({ server }) => server),
    [0, 1],
  );
  assert.ok(seen[0]!.key);
  assert.equal(seen[0]!.key, seen[1]!.key);
});

test('a server that drops the connection is passed over', async () => {
  handlers[0] = request => request.socket.destroy();
  handlers[1] = answer(200, killed);
  assert.equal((await kill()).state, 'cancelled');
});

test('an internal error is repeated elsewhere once, not for ever', async () => {
  handlers[0] = refuse('E_INTERNAL');
  handlers[1] = refuse('E_INTERNAL');
  await assert.rejects(kill(), { code: 'E_INTERNAL' });
  assert.equal(seen.length, 2);
});

test('a refusal is not repeated, and keeps its rule and its fix', async () => {
  handlers[0] = refuse('E_PAYLOAD_CREDENTIAL');
  await assert.rejects(kill(), (error: PilotageError) => {
    assert.equal(error.code, 'E_PAYLOAD_CREDENTIAL');
    assert.equal(error.rule, 'some-rule');
    assert.equal(error.fix, 'do this');
    return true;
  });
  assert.equal(seen.length, 1);
});

test('Retry-After is waited out when every server refuses for now', async () => {
  let calls = 0;
  const busyTwice: Handler = (request, response) => {
    calls += 1;
    (calls <= 2 ? refuse('E_OVERLOADED', { 'retry-after': '0' }) : answer(200, killed))(request, response);
  };
  handlers[0] = busyTwice;
  handlers[1] = busyTwice;
  await kill();
  assert.equal(calls, 3);
});

test('Retry-After is never cut short, and one of zero is no licence to hammer', async () => {
  for (const [seconds, leastMs] of [
    ['1', 1000],
    ['0', 180],
  ] as const) {
    const times: number[] = [];
    const busyTwice: Handler = (request, response) => {
      times.push(performance.now());
      const handler =
        times.length <= 2 ? refuse('E_OVERLOADED', { 'retry-after': seconds }) : answer(200, killed);
      handler(request, response);
    };
    handlers[0] = busyTwice;
    handlers[1] = busyTwice;
    for (let round = 0; round < (seconds === '1' ? 2 : 1); round += 1) {
      times.length = 0;
      await kill();
      const waitedMs = times[2]! - times[1]!;
      assert.ok(waitedMs >= leastMs, `Retry-After ${seconds}: asked again after ${waitedMs} ms`);
    }
  }
});

test('calls that fail at the same time do not make each other skip the healthy server', async () => {
  const waiting: (() => void)[] = [];
  handlers[0] = (request, response) => {
    waiting.push(() => refuse('E_NOT_READY')(request, response));
    if (waiting.length === 4) waiting.forEach(refuseNow => refuseNow());
  };
  handlers[1] = answer(200, killed);
  const replies = await Promise.all([1, 2, 3, 4].map(() => kill({ patienceSeconds: 0 })));
  assert.equal(replies.length, 4);
  assert.equal(seen.filter(({ server }) => server === 1).length, 4);
});

test("a front's own 429 and 500, and codes of a newer server, are repeated as their status says", async () => {
  for (const first of [
    answer(429, 'slow down', { 'retry-after': '1' }),
    answer(500, 'oops'),
    answer(503, { type: 'about:blank', title: 'x', status: 503, detail: 'x', code: 'E_NEW_IN_VERSION_NINE' }),
  ]) {
    seen.length = 0;
    handlers[0] = first;
    handlers[1] = answer(200, killed);
    await kill();
    assert.equal(seen.filter(({ server }) => server === 0).length, 1);
    await client.close();
    client = createApiClient({ servers: urls(), tls: { ca: '' }, timeoutSeconds: 5 });
  }
});

test('patience of zero tries each server once', async () => {
  handlers[0] = refuse('E_DRAINING');
  handlers[1] = refuse('E_DRAINING');
  await assert.rejects(kill({ patienceSeconds: 0 }), { code: 'E_DRAINING' });
  assert.equal(seen.length, 2);
});

test('an answer outside the contract is E_PROTOCOL and names the field', async () => {
  handlers[0] = answer(200, { ...killed, state: 'sleeping' });
  await assert.rejects(
    kill(),
    (error: PilotageError) => error.code === 'E_PROTOCOL' && /state/.test(error.message),
  );
});

test('an HTML error page of a front is told apart from a problem of ours', async () => {
  handlers[0] = (_request, response) => response.writeHead(404).end('<html>nothing</html>');
  await assert.rejects(kill(), { code: 'E_PROTOCOL' });
});

test('a caller can stop a call', async () => {
  handlers[0] = () => {};
  const reason = new Error('enough');
  await assert.rejects(client.call('floors', { signal: AbortSignal.abort(reason) }), reason);
});
