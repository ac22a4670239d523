import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo, LookupFunction, Server, Socket } from 'node:net';
import { createServer as createHttpsServer } from 'node:https';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { dump } from '../../../../../codecache/proxy/upstreams/ask-upstream.ts';
import type { UpstreamAnswer } from '../../../../../codecache/proxy/upstreams/ask-upstream.ts';
import type { Upstream } from '../../../../../codecache/proxy/upstreams/upstream.ts';
import { UpstreamPool } from '../../../../../codecache/proxy/upstreams/upstream-pool.ts';
import { systemClock } from '../../../../../lib/clock.ts';
import { PilotageError } from '../../../../../lib/errors.ts';
import { silentLog } from '../../../../../lib/log.ts';
import { createDevAuthority, issueDevServer } from '../../../../../signing/x509/dev-authority.ts';
import { temporaryDirectory } from '../../../../lab/temporary.ts';
import { waitUntil } from '../../../../lab/wait-until.ts';

const TIMEOUTS = { connectSeconds: 1, headerSeconds: 0.3, stallSeconds: 0.3, totalSeconds: 10 };

function poolOf(t: TestContext, timeouts: Partial<typeof TIMEOUTS> = {}, lookup?: LookupFunction) {
  const pool = new UpstreamPool({
    clock: systemClock,
    log: silentLog,
    timeouts: { ...TIMEOUTS, ...timeouts },
    ...(lookup && { lookup }),
  });
  t.after(() => pool.close());
  return pool;
}

async function listening(t: TestContext, server: Server, host = '127.0.0.1', port = 0): Promise<string> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>(resolve => server.listen(port, host, resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise<void>(resolve => void server.close(() => resolve()));
  });
  return `http://${host}:${(server.address() as AddressInfo).port}`;
}

/** A server that says these bytes, whatever it is asked; and what it was asked. */
async function saying(t: TestContext, answer: string, endAfter = true) {
  const asked: string[] = [];
  const url = await listening(
    t,
    createServer(socket => {
      socket.on('data', (chunk: Buffer) => {
        asked.push(chunk.toString('latin1'));
        socket.write(answer);
        if (endAfter) socket.end();
      });
    }),
  );
  return { url, asked };
}

const http = (t: TestContext, listener: RequestListener) => listening(t, createHttpServer(listener));

async function textOf(answer: UpstreamAnswer): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer.body as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('latin1');
}

const failure = async (asked: Promise<UpstreamAnswer>): Promise<PilotageError> => {
  const error = await asked.then(
    () => assert.fail('there was an answer'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof PilotageError, String(error));
  return error;
};

const idle = ({ gate, health }: Upstream) =>
  waitUntil('no request is left', () => gate.running === 0 && gate.queued === 0 && health.state !== 'probed');

test('a connection that is closed just as it is used again is replaced, and that is no failure', async t => {
  let connections = 0;
  const url = await listening(
    t,
    createServer(socket => {
      connections += 1;
      let requests = 0;
      socket.on('data', () => {
        requests += 1;
        if (requests > 1) socket.destroy();
        else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
      });
    }),
  );
  const pool = poolOf(t);
  const upstream = pool.upstream(url);
  for (let i = 0; i < 8; i += 1) assert.equal(await textOf(await pool.ask(upstream, 'x', {})), 'ok');
  const { requests, retried, failures, healthy } = upstream.stats();
  assert.deepEqual([requests, failures, healthy], [8, 0, true]);
  assert.equal(connections, 8, 'each gives one answer');
  assert.ok(retried >= 4, `${retried}`);
  const hangsUp = await listening(
    t,
    createServer(socket => void socket.on('data', () => socket.destroy())),
  );
  const other = pool.upstream(hangsUp);
  assert.equal((await failure(pool.ask(other, 'x', {}))).code, 'E_UPSTREAM_FAILED');
  assert.deepEqual(
    [other.stats().retried, other.stats().healthy],
    [0, false],
    'a new connection is no excuse',
  );
});

test('every address of a name is tried: the dead ones cost no answer', async t => {
  const url = await http(t, (_request, response) => void response.end('ok'));
  const { port } = new URL(url);
  const addresses = [
    { address: '::1', family: 6 },
    { address: '127.0.0.3', family: 4 },
    { address: '127.0.0.2', family: 4 },
    { address: '127.0.0.1', family: 4 },
  ];
  const asked: string[] = [];
  const pool = poolOf(t, {}, (hostname, options, callback) => {
    asked.push(hostname);
    assert.equal(options.all, true);
    callback(null, addresses);
  });
  const upstream = pool.upstream(`http://stores.example:${port}`);
  for (let i = 0; i < 5; i += 1) assert.equal(await textOf(await pool.ask(upstream, 'x', {})), 'ok');
  assert.equal(upstream.stats().failures, 0);
  assert.deepEqual([...new Set(asked)], ['stores.example']);
});

test('what is no answer is named: redirects are not followed, headers are bounded, encoded bodies refused', async t => {
  const victim = await saying(t, 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
  const pool = poolOf(t);
  for (const [answer, found] of [
    [`HTTP/1.1 302 Found\r\nlocation: ${victim.url}/\r\ncontent-length: 0\r\n\r\n`, /^status 302$/],
    ['HTTP/1.1 206 Partial\r\ncontent-length: 1\r\n\r\nx', /^status 206$/],
    [`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`, /^a header over the limit$/],
    ['HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx', /^content-encoding gzip$/],
    ['HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx', /./],
    ['HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n', /./],
    ['SSH-2.0-OpenSSH_9.2\r\n', /./],
    ['', /^the connection was closed$/],
  ] as const) {
    const upstream = pool.upstream((await saying(t, answer)).url);
    const error = await failure(pool.ask(upstream, 'metadata/timestamp.json', {}));
    assert.match(error.found!, found, answer.slice(0, 60));
    assert.equal(error.where, `${upstream.url}/metadata/timestamp.json`);
    assert.equal(upstream.stats().lastFailure!.object, 'metadata/timestamp.json');
    await idle(upstream);
  }
  assert.deepEqual(victim.asked, []);
});

test('a field with anything but visible ASCII is as if it had not been sent', async t => {
  const { url } = await saying(
    t,
    'HTTP/1.1 200 OK\r\netag: "a\u0001b"\r\ncontent-type: text/\u00fc\r\ncache-control: max-age=5\r\ncontent-length: 0\r\n\r\n',
  );
  const pool = poolOf(t);
  const answer = await pool.ask(pool.upstream(url), 'x', {}).catch((error: unknown) => error);
  // Whether the parser refuses the whole answer or not: nothing of it may be passed on.
  if (answer instanceof PilotageError) return;
  const { headers } = answer as UpstreamAnswer;
  assert.deepEqual([headers.etag, headers['content-type']], [undefined, undefined]);
  assert.equal(headers['cache-control'], 'max-age=5');
});

test('no more than 64 requests at once reach an upstream; the others wait, and are told when it is too long', async t => {
  let running = 0;
  let most = 0;
  let release = () => {};
  const released = new Promise<void>(resolve => (release = resolve));
  const url = await http(t, (_request, response) => {
    running += 1;
    most = Math.max(most, running);
    void released.then(() => {
      running -= 1;
      response.end('ok');
    });
  });
  const pool = poolOf(t, { headerSeconds: 3 });
  const upstream = pool.upstream(url);
  const asked = Array.from({ length: 330 }, (_, i) => pool.ask(upstream, `${i}`, {}));
  const refused = Promise.all(asked.slice(320).map(failure));
  await waitUntil('64 reached it', () => running === 64);
  assert.deepEqual([upstream.stats().running, upstream.stats().queued], [64, 256]);
  for (const error of await refused) assert.match(error.found!, /too many requests wait/);
  release();
  for (const answer of await Promise.all(asked.slice(0, 320))) assert.equal(await textOf(answer), 'ok');
  assert.equal(most, 64);
  await idle(upstream);
  const { passedOver, failures, healthy } = upstream.stats();
  assert.deepEqual([passedOver, failures, healthy], [10, 0, true]);
});

test('while one request probes a hung upstream the others are told soon; when it is back all follow', async t => {
  let hung = true;
  let reached = 0;
  const url = await http(t, (_request, response) => {
    reached += 1;
    if (!hung) response.end('ok');
  });
  const pool = poolOf(t, { headerSeconds: 1.6 });
  const upstream = pool.upstream(url);
  await failure(pool.ask(upstream, 'first', {}));
  assert.equal(reached, 1);
  const storm = Array.from({ length: 50 }, (_, i) => pool.ask(upstream, `${i}`, {}));
  let probing = true;
  const probe = failure(storm[0]!).finally(() => (probing = false));
  const errors = await Promise.all(storm.slice(1).map(failure));
  assert.ok(probing, 'they did not wait for its end');
  for (const error of errors)
    assert.match(error.found!, /it is being probed; last failure: no answer in time/);
  await probe;
  assert.equal(reached, 2, 'one request of fifty');
  await waitUntil('the spacing is over', () => upstream.health.nextTryMs === 0);
  hung = false;
  const back = await Promise.all(Array.from({ length: 50 }, (_, i) => pool.ask(upstream, `${i}`, {})));
  for (const answer of back) assert.equal(await textOf(answer), 'ok');
  assert.equal(upstream.stats().healthy, true);
  await idle(upstream);
});

test('a body that stops is a failure and one that trickles is not', async t => {
  const url = await http(t, (request, response) => {
    response.writeHead(200, { 'content-length': 20 });
    response.write('x');
    if (request.url === '/stall') return;
    let left = 19;
    const timer = setInterval(() => {
      response.write('x');
      left -= 1;
      if (left === 0) clearInterval(timer);
    }, 60);
  });
  const pool = poolOf(t);
  const upstream = pool.upstream(url);
  assert.equal((await textOf(await pool.ask(upstream, 'slow', {}))).length, 20);
  assert.equal(upstream.stats().healthy, true);
  await assert.rejects(textOf(await pool.ask(upstream, 'stall', {})), { code: 'UND_ERR_BODY_TIMEOUT' });
  assert.equal(upstream.stats().healthy, false);
  await idle(upstream);
});

test('a reader that lets go of a body is no failure of the upstream, and leaves nothing behind', async t => {
  const url = await http(t, (_request, response) => {
    response.writeHead(200);
    response.write(Buffer.alloc(100_000));
  });
  const pool = poolOf(t, { stallSeconds: 5 });
  const upstream = pool.upstream(url);
  for (let i = 0; i < 5; i += 1) {
    const answer = await pool.ask(upstream, 'x', {});
    if (i % 2 === 0) answer.body.destroy();
    else await dump(answer);
  }
  await idle(upstream);
  assert.deepEqual([upstream.stats().failures, upstream.stats().healthy], [0, true]);
});

test('one whole answer has a deadline', async t => {
  const url = await http(t, (_request, response) => {
    response.writeHead(200);
    const timer = setInterval(() => response.write('x'), 20);
    response.on('close', () => clearInterval(timer));
  });
  const pool = poolOf(t, { totalSeconds: 0.5 });
  const upstream = pool.upstream(url);
  await assert.rejects(textOf(await pool.ask(upstream, 'x', {})), { name: 'TimeoutError' });
  await idle(upstream);
});

test('Retry-After holds requests back, also in the form of a date, and is passed on', async t => {
  for (const retryAfter of ['7', new Date(Date.now() + 8000).toUTCString()]) {
    let reached = 0;
    const url = await http(t, (_request, response) => {
      reached += 1;
      response.writeHead(503, { 'retry-after': retryAfter }).end('later');
    });
    const pool = poolOf(t);
    const upstream = pool.upstream(url);
    const first = await failure(pool.ask(upstream, 'x', {}));
    assert.equal(first.found, 'status 503');
    const second = await failure(pool.ask(upstream, 'x', {}));
    assert.match(second.found!, /it rests; last failure: status 503/);
    for (const { retryAfterSeconds } of [first, second])
      assert.ok(retryAfterSeconds! >= 6 && retryAfterSeconds! <= 8, `${retryAfterSeconds}`);
    assert.equal(reached, 1);
  }
});

test('a sibling is asked for what it has only, and never a reason to fail', async t => {
  const asked: (string | undefined)[] = [];
  const url = await http(t, (request, response) => {
    asked.push(request.headers['cache-control']);
    if (request.url === '/has') response.end('ok');
    else response.writeHead(504).end('not cached');
  });
  const dead = await http(t, () => undefined);
  const pool = poolOf(t);
  const sibling = pool.upstream(url, 'sibling');
  assert.equal(await textOf(await pool.ask(sibling, 'has', {})), 'ok');
  assert.equal((await pool.ask(sibling, 'has-not', {})).status, 404);
  assert.equal((await pool.ask(sibling, 'has', { 'cache-control': 'no-cache' })).status, 404);
  assert.deepEqual(asked, ['only-if-cached', 'only-if-cached']);
  const { answers, bytes, failures, healthy, role } = sibling.stats();
  assert.deepEqual([answers, failures, healthy, role], [1, 0, true, 'sibling']);
  assert.ok(bytes >= 2);
  const silent = pool.upstream(dead, 'sibling');
  const gone = createHttpServer();
  const nobody = pool.upstream(await listening(t, gone), 'sibling');
  await new Promise<void>(resolve => void gone.close(() => resolve()));
  for (const bad of [silent, nobody]) {
    assert.equal((await pool.ask(bad, 'has', {})).status, 404);
    assert.deepEqual([bad.stats().failures, bad.stats().healthy], [1, false]);
  }
});

test('an upstream of https: is asked when its certificate is one that Node trusts, and refused by name otherwise', async t => {
  const directory = await temporaryDirectory(t, 'https-upstream');
  const authority = await createDevAuthority({ directory, instance: 'lab' });
  const { certificateFile, keyFile } = await issueDevServer(authority);
  const server = createHttpsServer(
    { cert: readFileSync(certificateFile), key: readFileSync(keyFile) },
    (_, reply) => reply.end('ok'),
  );
  const url = (await listening(t, server)).replace('http:', 'https:');
  const stranger = poolOf(t);
  const error = await failure(stranger.ask(stranger.upstream(url), 'x', {}));
  assert.match(error.found!, /SELF_SIGNED|UNABLE_TO_|CERT/);
  const before = getCACertificates('default');
  t.after(() => setDefaultCACertificates(before));
  setDefaultCACertificates([...before, readFileSync(authority.caFile, 'utf8')]);
  const pool = poolOf(t);
  assert.equal(await textOf(await pool.ask(pool.upstream(url), 'x', {})), 'ok');
});

test('some interim answers are waited through, no end of them is a failure', async t => {
  const early = 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n';
  const fine = await saying(t, `${early.repeat(3)}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok`);
  const pool = poolOf(t);
  assert.equal(await textOf(await pool.ask(pool.upstream(fine.url), 'x', {})), 'ok');
  const endless = await listening(
    t,
    createServer(socket => {
      const more = setInterval(() => socket.write(early), 20);
      socket.on('close', () => clearInterval(more));
    }),
  );
  const upstream = pool.upstream(endless);
  assert.equal((await failure(pool.ask(upstream, 'x', {}))).found, 'interim answers without end');
  await idle(upstream);
  assert.equal(upstream.stats().healthy, false);
});
