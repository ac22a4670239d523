import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PlainRequests, readPlainRequest } from '../../../../../codecache/proxy/front/plain-request.ts';

const head = (fields: string, line = 'GET /a HTTP/1.1'): string => `${line}\r\n${fields}\r\n`;
const HOST = 'Host: a\r\n';

test('a request with nothing in it that could change the answer is plain', () => {
  const plain: [string, string | undefined][] = [
    [head(HOST), undefined],
    [head(`User-Agent: wrk 1\r\n${HOST}`), 'wrk 1'],
    [head('hOST:\t[::1]:80 \r\nACCEPT:\r\nconnection: Keep-Alive\r\nUSER-AGENT:x\t\r\n'), 'x'],
    [head(`${HOST}accept: a\r\naccept: b\r\nx-request-id: ~!"#\r\n`), undefined],
  ];
  for (const [text, userAgent] of plain)
    assert.deepEqual(readPlainRequest(text), { target: '/a', userAgent }, text);
});

test('anything else is not', () => {
  const others = [
    head(''),
    head(HOST, 'HEAD /a HTTP/1.1'),
    head(HOST, 'GET /a HTTP/1.0'),
    head(HOST, 'GET  /a HTTP/1.1'),
    head(HOST, 'GET /\xe4 HTTP/1.1'),
    `\r\n${head(HOST)}`,
    head(`${HOST}Host: a\r\n`),
    head('Host: \r\n'),
    head('Host: a b\r\n'),
    head(`${HOST}User-Agent: a\r\nUser-Agent: b\r\n`),
    head(`${HOST}Accept: \xe4\r\n`),
    head(`${HOST}Accept: a\0\r\n`),
    head(`${HOST}Accept: a\r b\r\n`),
    head(`${HOST}Accept: a\n\r\n`),
    head(`${HOST}Accept: a\r\n b\r\n`),
    head(`${HOST}Accept : a\r\n`),
    head(`${HOST}: a\r\n`),
    head(`${HOST}Accept\r\n`),
    head(HOST + 'Accept: a\r\n'.repeat(24)),
    ...['close', 'keep-alive, x', ''].map(value => head(`${HOST}Connection: ${value}\r\n`)),
    ...`Range If-Range If-None-Match If-Modified-Since If-Match Cache-Control Pragma Via TE Trailer Upgrade Expect
        Transfer-Encoding Content-Length Authorization Cookie Keep-Alive Proxy-Connection X-Unknown`
      .split(/\s+/)
      .map(name => head(`${HOST}${name}: 0\r\n`)),
  ];
  for (const text of others) assert.equal(readPlainRequest(text), undefined, JSON.stringify(text));
});

test('what was read is remembered, within bounds, and long heads are left to others', () => {
  const requests = new PlainRequests();
  const first = requests.read(head(HOST));
  assert.equal(requests.read(head(HOST)), first);
  assert.equal(requests.read(head(`${HOST}Accept: ${'a'.repeat(2100)}\r\n`)), undefined);
  for (let i = 0; i < 4096; i++) requests.read(head(HOST, `GET /${i} HTTP/1.1`));
  assert.notEqual(requests.read(head(HOST)), first, 'it was forgotten to make room');
  assert.deepEqual(requests.read(head(HOST)), first);
});
