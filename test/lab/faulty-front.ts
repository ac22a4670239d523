import { request } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';

/** What goes wrong with one answer. */
export type Fault =
  /** The announced length, but the connection ends after so many bytes of the body. */
  | { kind: 'truncate'; afterBytes: number }
  /** More bytes than there are, announced as such. */
  | { kind: 'oversize'; byBytes: number }
  /** One bit of the body is another. */
  | { kind: 'flip'; at: number }
  /** The body of another path. */
  | { kind: 'other-object'; path: string }
  /** 200 with a login page. */
  | { kind: 'garbage' }
  | { kind: 'status'; status: number; retryAfterSeconds?: number }
  /** The connection is closed after the answer, which did not say so. */
  | { kind: 'close' }
  /** HTTP/1.0 without a length: the end of the connection ends the body. */
  | { kind: 'http-1.0' }
  | { kind: 'trickle'; bytesPerSecond: number }
  /** So many bytes of the body, then nothing; the connection stays open. */
  | { kind: 'stall'; afterBytes: number }
  /** Compressed on the way, as a middlebox does that does not care what was asked for. */
  | { kind: 'gzip' }
  /** The connection is closed without a byte. */
  | { kind: 'hang-up' }
  /** Not a byte, or half of the header, then nothing; the connection stays open. */
  | { kind: 'silence' }
  | { kind: 'half-header' };

export interface FaultRule {
  /** Which paths, without the leading slash: `metadata/timestamp.json`. Default: all. */
  path?: RegExp;
  /** Only this many requests; the later ones are answered well. Default: all. */
  times?: number;
  /** Only requests without `Cache-Control: no-cache`: what is wrong lies in a cache. */
  cached?: true;
  fault: Fault;
}

export interface FrontRequest {
  path: string;
  noCache: boolean;
  range: string | undefined;
  /** Bytes of body that were sent. */
  sent: number;
  fault: Fault['kind'] | undefined;
}

export interface FaultyFront {
  url: string;
  /** Base URL of what is fronted; may be changed, for a front that is stale and then is not. */
  upstream: string;
  /** The first rule that fits decides; may be changed. */
  rules: FaultRule[];
  /** All requests so far. */
  readonly requests: FrontRequest[];
  count(path: RegExp): number;
  close(): Promise<void>;
}

/**
 * A server between clients and a store, cache or any other HTTP server, that goes wrong as its rules say; the answers
 * come from the real thing behind it, ranges and validators included. One bad front, then a good one:
 *
 * ```ts
 * const bad = await startFaultyFront({ upstream: store.url, rules: [{ path: /node-/, fault: { kind: 'garbage' } }] });
 * await fetchRelease({ caches: [bad.url, store.url], ... });
 * assert.equal(bad.count(/node-/), 2);
 * ```
 *
 * Without rules it only counts.
 */
export async function startFaultyFront(options: {
  upstream: string;
  rules?: FaultRule[];
}): Promise<FaultyFront> {
  const sockets = new Set<Socket>();
  const requests: FrontRequest[] = [];
  const server = createServer(socket => {
    socket.setNoDelay();
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
    void serve(socket, front).catch(() => socket.destroy());
  });
  const front: FaultyFront = {
    url: '',
    upstream: options.upstream,
    rules: options.rules ?? [],
    requests,
    count: path => requests.filter(request => path.test(request.path)).length,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise(resolve => {
        server.close(resolve);
      });
    },
  };
  await new Promise<void>(resolve => {
    server.listen(0, '127.0.0.1', resolve);
  });
  front.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return front;
}

async function serve(socket: Socket, front: FaultyFront): Promise<void> {
  let buffered = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    buffered += chunk.toString('latin1');
    for (let end = buffered.indexOf('\r\n\r\n'); end >= 0; end = buffered.indexOf('\r\n\r\n')) {
      const head = buffered.slice(0, end);
      buffered = buffered.slice(end + 4);
      if (!(await answer(socket, front, parseHead(head)))) return void socket.resume();
    }
  }
}

interface Asked {
  method: string;
  path: string;
  headers: Record<string, string>;
}

function parseHead(head: string): Asked {
  const [line = '', ...rest] = head.split('\r\n');
  const [method = '', target = ''] = line.split(' ');
  const headers = rest.map(text => text.split(/:\s*/, 2) as [string, string]);
  return {
    method,
    path: target.replace(/^\//, ''),
    headers: Object.fromEntries(headers.map(([name, value]) => [name.toLowerCase(), value])),
  };
}

/** Counts the request and lets the first rule that fits decide. @returns whether the connection stays open. */
async function answer(socket: Socket, front: FaultyFront, asked: Asked): Promise<boolean> {
  const noCache = /no-cache/.test(asked.headers['cache-control'] ?? '');
  const rule = front.rules.find(
    ({ path, times, cached }) =>
      (path?.test(asked.path) ?? true) && (times ?? 1) > 0 && !(cached === true && noCache),
  );
  if (rule?.times !== undefined) rule.times -= 1;
  const fault = rule?.fault;
  const entry = { path: asked.path, noCache, range: asked.headers.range, sent: 0, fault: fault?.kind };
  front.requests.push(entry);
  if (fault?.kind === 'hang-up') {
    socket.destroy();
    return false;
  }
  if (fault?.kind === 'silence' || fault?.kind === 'half-header') {
    if (fault.kind === 'half-header') socket.write('HTTP/1.1 200 OK\r\ncontent-le');
    return false;
  }
  const reply = await ask(
    front.upstream,
    fault?.kind === 'other-object' ? { ...asked, path: fault.path } : asked,
  );
  const { status, headers, body } = spoil(reply, fault);
  const version = fault?.kind === 'http-1.0' ? '1.0' : '1.1';
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`HTTP/${version} ${status} Whatever\r\n${lines.join('')}\r\n`);
  if (asked.method === 'HEAD') return true;
  const whole = fault?.kind === 'truncate' || fault?.kind === 'stall' ? fault.afterBytes : body.length;
  const step = fault?.kind === 'trickle' ? Math.max(1, Math.floor(fault.bytesPerSecond / 20)) : body.length;
  for (let at = 0; at < Math.min(whole, body.length) && !socket.destroyed; at += step) {
    if (at > 0) await sleep(50);
    const part = body.subarray(at, Math.min(at + step, whole));
    await new Promise<void>(resolve => {
      socket.write(part, () => resolve());
    });
    entry.sent += part.length;
  }
  if (fault?.kind === 'stall' && fault.afterBytes < body.length) return false;
  if (fault?.kind === 'truncate' && fault.afterBytes < body.length) {
    socket.destroy();
    return false;
  }
  if (fault?.kind !== 'close' && fault?.kind !== 'http-1.0') return true;
  socket.end();
  return false;
}

interface Reply {
  status: number;
  headers: Record<string, string>;
  body: Buffer;
}

/** Answers that are no success pass as they are, but for a fault that replaces them. */
function spoil(reply: Reply, fault: Fault | undefined): Reply {
  const { status, headers } = reply;
  const withBody = (body: Buffer, more: Record<string, string> = {}, without: string[] = []): Reply => {
    const kept = Object.entries(headers).filter(([name]) => !without.includes(name));
    return {
      status,
      headers: { ...Object.fromEntries(kept), ...more, 'content-length': `${body.length}` },
      body,
    };
  };
  if (fault?.kind === 'status') {
    const body = Buffer.from('No.\n');
    const after = fault.retryAfterSeconds;
    return {
      status: fault.status,
      headers: {
        'content-length': `${body.length}`,
        ...(after !== undefined && { 'retry-after': `${after}` }),
      },
      body,
    };
  }
  if (fault?.kind === 'garbage') {
    const body = Buffer.from('<!DOCTYPE html><html><body>Please log in.</body></html>\n');
    return {
      status: 200,
      headers: { 'content-type': 'text/html', 'content-length': `${body.length}` },
      body,
    };
  }
  if (fault?.kind === 'http-1.0') {
    const kept = Object.entries(headers).filter(([name]) => name !== 'content-length');
    return { ...reply, headers: Object.fromEntries(kept) };
  }
  if (status !== 200 && status !== 206) return reply;
  if (fault?.kind === 'oversize') return withBody(Buffer.concat([reply.body, Buffer.alloc(fault.byBytes)]));
  if (fault?.kind === 'gzip') return withBody(gzipSync(reply.body), { 'content-encoding': 'gzip' }, ['etag']);
  if (fault?.kind === 'flip') {
    const body = Buffer.from(reply.body);
    const at = Math.min(fault.at, body.length - 1);
    body[at] = body[at]! ^ 1;
    return withBody(body);
  }
  return reply;
}

const PASSED_ON = ['range', 'if-range', 'if-none-match', 'cache-control', 'pragma', 'accept-encoding'];
const HOP_BY_HOP = ['connection', 'keep-alive', 'transfer-encoding'];

/** The whole answer of the real server. */
function ask(upstream: string, asked: Asked): Promise<Reply> {
  const headers = Object.fromEntries(
    Object.entries(asked.headers).filter(([name]) => PASSED_ON.includes(name)),
  );
  return new Promise((resolve, reject) => {
    const outgoing = request(
      `${upstream}/${asked.path}`,
      { method: asked.method, headers, agent: false, timeout: 20_000 },
      reply => {
        const chunks: Buffer[] = [];
        reply.on('data', (chunk: Buffer) => chunks.push(chunk));
        reply.on('error', reject);
        reply.on('end', () => {
          const kept = Object.entries(reply.headers).filter(([name]) => !HOP_BY_HOP.includes(name));
          const body = Buffer.concat(chunks);
          resolve({
            status: reply.statusCode ?? 502,
            headers: {
              // A 304 speaks of a body that it does not have.
              ...(reply.statusCode !== 304 && { 'content-length': `${body.length}` }),
              ...(Object.fromEntries(kept) as Record<string, string>),
            },
            body,
          });
        });
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer of the upstream in 20 s')));
    outgoing.on('error', reject);
    outgoing.end();
  });
}
