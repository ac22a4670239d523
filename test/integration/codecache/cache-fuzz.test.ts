import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import * as fc from 'fast-check';
import { startHereCache } from './here-cache.ts';
import { converse } from './raw-http.ts';
import { get, metadata, sha256, upstream } from './web.ts';

const small = randomBytes(900);
/** Longer than what the raw socket sends in one piece, and than what a connection takes at once. */
const large = randomBytes(400_000);
const nameOf = (bytes: Buffer): string => `/targets/fuzz/${sha256(bytes)}.bin`;
const kept: Record<string, Buffer | string> = {
  [nameOf(small)]: small,
  [nameOf(large)]: large,
  '/metadata/timestamp.json': metadata('timestamp', 1),
  '/metadata/1.root.json': metadata('root', 1),
};
const targets = [...Object.keys(kept), '/metadata/2.root.json'];

function answerAsStore(request: IncomingMessage, response: ServerResponse): void {
  const body = kept[request.url ?? ''];
  const fields = { 'cache-control': 'public, max-age=3600', etag: `"${sha256(body ?? '')}"` };
  if (body === undefined) response.writeHead(404, fields).end('not here');
  else response.writeHead(200, { ...fields, 'content-length': Buffer.byteLength(body) }).end(body);
}

async function cacheFor(t: TestContext, origin: string, rawFront: boolean) {
  const counts = { raw: 0, all: 0 };
  const cache = await startHereCache(t, [origin], {
    rawFront,
    observe: ({ raw }) => {
      counts.all += 1;
      if (raw === true) counts.raw += 1;
    },
  });
  for (const target of targets) for (let i = 0; i < 3; i++) await get(cache.url + target);
  return { url: cache.url, counts };
}

const spaces = fc.constantFrom('', ' ', '  ', '\t', ' \t ');
const odd = fc.constantFrom(
  '\0',
  '\n',
  '\r',
  '\r\n',
  '\x7f',
  '\x80',
  '\xff',
  ' ',
  ':',
  ',',
  '"',
  '\x0b',
  '#',
  '%',
);
const text = fc.string({ unit: 'grapheme-ascii', maxLength: 12 });

/** Values that decide something, and such that do not. */
const values: Record<string, readonly string[]> = {
  host: ['cache.test', 'cache.test:80', '[::1]:1', '', 'a b', 'x@y', '%41'],
  connection: ['keep-alive', 'Keep-Alive', 'close', 'keep-alive, close', 'upgrade', 'x-a', ''],
  'keep-alive': ['timeout=5'],
  accept: ['*/*', ''],
  'accept-encoding': ['identity', 'gzip;q=1, *;q=0'],
  'user-agent': ['wrk', 'pilotage/1', 'a"b\\c', ''],
  'cache-control': ['no-cache', 'max-age=0', 'only-if-cached', 'max-stale', 'no-transform', 'no-store'],
  pragma: ['no-cache', 'x'],
  range: ['bytes=0-9', 'bytes=-9', 'bytes=999999999-', 'bytes=0-1,3-4', 'items=1-2'],
  'if-range': [`"${sha256(small)}"`, 'W/"x"', 'Sat, 01 Jan 2000 00:00:00 GMT'],
  'if-none-match': ['*', `"${sha256(small)}"`, `"a", W/"${sha256(large)}"`, 'x'],
  'if-modified-since': ['Sat, 01 Jan 2100 00:00:00 GMT'],
  'if-match': ['"x"'],
  'content-length': ['0', '00', '3', '-1', '0, 0', ''],
  'transfer-encoding': ['chunked', 'identity', ' chunked', 'gzip, chunked'],
  expect: ['100-continue', 'x'],
  upgrade: ['websocket', 'h2c'],
  te: ['trailers'],
  trailer: ['x-a'],
  via: ['1.1 other', '1.1 other, 1.0 more'],
  'x-forwarded-for': ['10.0.0.1'],
  'x-request-id': ['1'],
  'x-unknown': ['1'],
};

const cased = (name: string): fc.Arbitrary<string> =>
  fc.constantFrom(
    name,
    name.toUpperCase(),
    name.replace(/\b./g, first => first.toUpperCase()),
  );
const harmless = fc.constantFrom(
  'accept',
  'accept-encoding',
  'user-agent',
  'x-forwarded-for',
  'x-request-id',
);
const fieldOf = (names: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  names.chain(name =>
    fc
      .tuple(
        cased(name),
        spaces,
        fc.oneof({ weight: 6, arbitrary: fc.constantFrom(...values[name]!) }, text),
        spaces,
      )
      .map(([shown, before, value, after]) => `${shown}:${before}${value}${after}\r\n`),
  );

const requestLine = fc
  .record({
    method: fc.oneof(
      { weight: 20, arbitrary: fc.constant('GET') },
      fc.constantFrom('HEAD', 'get', 'POST', 'OPTIONS', 'G', ''),
    ),
    space: fc.oneof({ weight: 30, arbitrary: fc.constant(' ') }, fc.constantFrom('  ', '\t', '')),
    target: fc.oneof(
      { weight: 20, arbitrary: fc.constantFrom(...targets) },
      fc.constantFrom(
        '/nowhere',
        '*',
        `${targets[0]}?x`,
        `http://a.test${targets[0]}`,
        targets[0]!.toUpperCase(),
      ),
      fc.constantFrom(...targets).map(target => target.replace('t', '%74')),
    ),
    version: fc.oneof(
      { weight: 20, arbitrary: fc.constant('HTTP/1.1') },
      fc.constantFrom('HTTP/1.0', 'HTTP/2.0', 'http/1.1', 'HTTP/1.2', ''),
    ),
  })
  .map(({ method, space, target, version }) => `${method}${space}${target}${space}${version}\r\n`);

const host = fc.oneof(
  { weight: 15, arbitrary: fc.constantFrom('Host: cache.test\r\n', 'host:cache.test:80 \r\n') },
  fc.constantFrom('', 'Host: a\r\nHost: a\r\n'),
  fieldOf(fc.constant('host')),
);

/** A valid head nearly always, of fields that matter and such that do not, in any order. */
const head = fc
  .tuple(
    requestLine,
    fc
      .tuple(
        host,
        fc.array(fieldOf(harmless), { maxLength: 3 }),
        fc.oneof(
          { weight: 2, arbitrary: fc.constant([]) },
          fc.array(fieldOf(fc.constantFrom(...Object.keys(values))), { maxLength: 2 }),
        ),
      )
      .chain(([first, ...rest]) =>
        fc.shuffledSubarray([first, ...rest.flat()], { minLength: 1 + rest.flat().length }),
      ),
  )
  .map(([line, fields]) => `${line}${fields.join('')}\r\n`);

/** A head with a piece cut out, put in, or said twice. */
const mutated = fc.tuple(head, fc.nat(), fc.nat(3), fc.oneof(odd, text)).map(([valid, at, length, piece]) => {
  const where = at % valid.length;
  return valid.slice(0, where) + piece + valid.slice(where + length);
});

const conversation = fc
  .tuple(
    fc.array(fc.oneof({ weight: 4, arbitrary: head }, mutated), { minLength: 1, maxLength: 3 }),
    fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, fc.array(fc.nat(), { maxLength: 3 })),
  )
  .map(([heads, cuts]) => {
    const whole = heads.join('');
    const places = cuts.map(cut => cut % (whole.length + 1)).sort((a, b) => a - b);
    return [0, ...places].map((from, index) => whole.slice(from, places[index])).filter(part => part !== '');
  });

/** What may differ: the clock, and who answers. */
const comparable = (bytes: Buffer): string =>
  bytes
    .toString('latin1')
    .replaceAll(/^Date: .*\r$/gm, 'Date')
    .replaceAll(/^age: [0-9]+\r$/gm, 'age')
    .replaceAll(/; ttl=-?[0-9]+\r$/gm, '; ttl')
    .replaceAll(/pilotage-[0-9a-f]{8}/g, 'pilotage');

test(
  'the raw socket and node:http give the same answers to the same requests',
  { timeout: 60_000 },
  async t => {
    const origin = await upstream(t, answerAsStore);
    const fast = await cacheFor(t, origin.url, true);
    const slow = await cacheFor(t, origin.url, false);
    const runs = 1500;
    await fc.assert(
      fc.asyncProperty(conversation, async segments => {
        const [first, second] = await Promise.all([
          converse(fast.url, segments),
          converse(slow.url, segments),
        ]);
        assert.equal(comparable(first), comparable(second));
      }),
      { numRuns: runs },
    );
    t.diagnostic(`${fast.counts.raw} of ${fast.counts.all} answers from the raw socket`);
    assert.ok(fast.counts.raw > runs / 5, `only ${fast.counts.raw} of ${fast.counts.all} answers were raw`);
    assert.equal(slow.counts.raw, 0);
  },
);
