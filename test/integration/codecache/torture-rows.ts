/**
 * Requests that are malformed, ambiguous or odd, and what the specifications want for an answer. `$T` is the target of an
 * object of 2000 bytes, `$E` its entity tag, `$A` the address of the cache,
 * `$L` the length of {@link SMUGGLED}.
 */
export interface Row {
  name: string;
  send: string | string[];
  /** Status of each answer, in order; `HEAD` answers are told apart by {@link bodiless}. */
  want: number[];
  /** Indices of answers that have no body though they announce one. */
  bodiless?: number[];
  /** What nginx answers where it is not of the same class, and why that is no fault of ours. */
  nginx?: { got: number[]; why: string };
}

const H = 'Host: cache.test\r\n';
const get = (fields = '', target = '$T'): string => `GET ${target} HTTP/1.1\r\n${H}${fields}\r\n`;
const line = (requestLine: string, fields = ''): string => `${requestLine}\r\n${H}${fields}\r\n`;
const many = (count: number): string => Array.from({ length: count }, (_, i) => `X-F${i}: v\r\n`).join('');

/** What a row sends next must never be answered: it is the body, or the rest, of what was refused. */
export const SMUGGLED = get();

const proxyOnly = 'this nginx is a reverse proxy: it does not look at the host of a target';
const ignores =
  'nginx leaves out fields whose name is not valid and goes on; RFC 9112 5 lets a server refuse';
const lenient =
  'RFC 9112 2.2 and 3 let a lenient recipient read it; a cache that others stand before must not guess';

export const rows: Row[] = [
  // What is plain.
  { name: 'a plain GET', send: get(), want: [200] },
  { name: 'HEAD', send: line('HEAD $T HTTP/1.1'), want: [200], bodiless: [0] },
  {
    name: 'odd case and white space of fields',
    send: 'GET $T HTTP/1.1\r\nhOsT:   cache.test  \r\nACCEPT:*/*\r\nX-A: \t b\t\r\n\r\n',
    want: [200],
  },
  { name: 'an empty line before the request', send: `\r\n${get()}`, want: [200] },
  {
    name: 'a request in many segments',
    send: ['GE', 'T $T HTT', 'P/1.1\r', '\nHost: cache', '.test\r\n', '\r', '\n'],
    want: [200],
  },
  { name: 'half-close after the request', send: get('User-Agent: half\r\n'), want: [200] },
  { name: 'an offer to upgrade', send: get('Connection: Upgrade\r\nUpgrade: websocket\r\n'), want: [200] },
  {
    name: 'an offer of h2c',
    send: get('Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n'),
    want: [200],
  },
  {
    name: 'a field that Connection names is not looked at further',
    send: get('Connection: close, X-A\r\nX-A: 1\r\n'),
    want: [200],
  },

  // Versions.
  { name: 'HTTP/1.0 without Host', send: 'GET $T HTTP/1.0\r\n\r\n', want: [200] },
  {
    name: 'HTTP/1.0 closes after the answer',
    send: 'GET $T HTTP/1.0\r\n\r\nGET $T HTTP/1.0\r\n\r\n',
    want: [200],
  },
  {
    name: 'HTTP/1.0 with keep-alive',
    send: 'GET $T HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET $T HTTP/1.0\r\n\r\n',
    want: [200, 200],
  },
  {
    name: 'HTTP/0.9',
    send: 'GET $T\r\n',
    want: [400],
    nginx: { got: [], why: 'it sends the bare body, as in 1991' },
  },
  { name: 'HTTP/2 in the request line', send: line('GET $T HTTP/2.0'), want: [505] },
  {
    name: 'HTTP/1.2',
    send: line('GET $T HTTP/1.2'),
    want: [400],
    nginx: { got: [200], why: 'RFC 9110 2.5 would have it read as 1.1; nobody sends it' },
  },
  {
    name: 'HTTP/3.14',
    send: line('GET $T HTTP/3.14'),
    want: [400],
    nginx: { got: [505], why: 'node:http reads versions of one digit, and 2.0 it tells apart' },
  },
  { name: 'a version in lower case', send: line('GET T http/1.1'), want: [400] },
  { name: 'the preface of HTTP/2', send: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', want: [400] },

  // Host.
  { name: 'no Host', send: 'GET $T HTTP/1.1\r\n\r\n', want: [400] },
  { name: 'two hosts', send: get('Host: other.test\r\n'), want: [400] },
  { name: 'the same host twice', send: get(H), want: [400] },
  { name: 'an empty Host', send: 'GET $T HTTP/1.1\r\nHost: \r\n\r\n', want: [400] },
  { name: 'a Host with a path', send: 'GET $T HTTP/1.1\r\nHost: cache.test/x\r\n\r\n', want: [400] },
  {
    name: 'a Host with a user',
    send: 'GET $T HTTP/1.1\r\nHost: me@cache.test\r\n\r\n',
    want: [400],
    nginx: { got: [200], why: 'it does not look for users' },
  },
  { name: 'a Host of two words', send: 'GET $T HTTP/1.1\r\nHost: cache.test other\r\n\r\n', want: [400] },
  { name: 'a Host with a port', send: 'GET $T HTTP/1.1\r\nHost: cache.test:8091\r\n\r\n', want: [200] },
  { name: 'a Host by IPv6 address', send: 'GET $T HTTP/1.1\r\nHost: [::1]:8091\r\n\r\n', want: [200] },

  // Targets.
  {
    name: 'absolute form with the address of the cache, whatever Host says',
    send: get('', 'http://$A$T'),
    want: [200],
  },
  { name: 'absolute form without Host', send: 'GET http://$A$T HTTP/1.1\r\n\r\n', want: [400] },
  {
    name: 'absolute form of another origin',
    send: get('', 'http://elsewhere.test/metadata/1.root.json'),
    want: [403],
    nginx: { got: [200], why: proxyOnly },
  },
  { name: 'absolute form with a user', send: get('', 'http://me@$A$T'), want: [400] },
  {
    name: 'absolute form of another scheme',
    send: get('', 'ftp://$A$T'),
    want: [400],
    nginx: { got: [200], why: proxyOnly },
  },
  { name: 'absolute form without a host', send: get('', 'http://$T'), want: [400] },
  { name: 'authority form', send: get('', 'cache.test:80'), want: [400] },
  { name: 'asterisk form', send: get('', '*'), want: [400] },
  { name: 'a fragment', send: get('', '$T#part'), want: [404] },
  { name: 'a query', send: get('', '$T?a=b'), want: [404] },
  { name: 'dot segments', send: get('', '/targets/../targets/x'), want: [404] },
  { name: 'encoded dot segments', send: get('', '/targets/%2e%2e/etc/passwd'), want: [404] },
  { name: 'an encoded NUL', send: get('', '/targets/a%00b'), want: [404] },
  { name: 'an encoding that is none', send: get('', '/targets/%zz'), want: [404] },
  { name: 'two slashes', send: get('', '//targets/x'), want: [404] },
  { name: 'a backslash', send: get('', '/targets\\x'), want: [404] },
  { name: 'a target of 20 kB', send: get('', `/targets/${'a'.repeat(20_000)}`), want: [431] },

  // The request line and the fields.
  { name: 'no target', send: line('GET HTTP/1.1'), want: [400] },
  { name: 'two spaces in the request line', send: line('GET  $T HTTP/1.1'), want: [200] },
  { name: 'a space in the target', send: line('GET $T $T HTTP/1.1'), want: [400] },
  { name: 'a tab in the request line', send: line('GET\t$T HTTP/1.1'), want: [400] },
  { name: 'a space before the method', send: ` ${get()}`, want: [400] },
  { name: 'a method in lower case', send: line('get $T HTTP/1.1'), want: [400] },
  { name: 'a method that nobody knows', send: line('FETCH $T HTTP/1.1'), want: [400] },
  { name: 'a NUL in the target', send: get('', '$T\0'), want: [400] },
  { name: 'a NUL in a value', send: get('X-A: a\0b\r\n'), want: [400] },
  { name: 'a NUL in a name', send: get('X\0A: b\r\n'), want: [400] },
  {
    name: 'a control character in a value',
    send: get('X-A: a\x01b\r\n'),
    want: [400],
    nginx: { got: [200], why: lenient },
  },
  { name: 'a bare CR in a value', send: get('X-A: a\rb\r\n'), want: [400] },
  {
    name: 'bare LF everywhere',
    send: 'GET $T HTTP/1.1\nHost: cache.test\n\n',
    want: [400],
    nginx: { got: [200], why: lenient },
  },
  {
    name: 'bare LF after one field',
    send: 'GET $T HTTP/1.1\r\nHost: cache.test\nX-A: b\r\n\r\n',
    want: [400],
    nginx: { got: [200], why: lenient },
  },
  { name: 'a folded value', send: get('X-A: a\r\n b\r\n'), want: [400] },
  { name: 'white space before the first field', send: `GET $T HTTP/1.1\r\n ${H}\r\n`, want: [400] },
  { name: 'white space before the colon', send: get('X-A : b\r\n'), want: [400] },
  { name: 'a field without a colon', send: get('X-A\r\n'), want: [400], nginx: { got: [200], why: ignores } },
  { name: 'a field without a name', send: get(': b\r\n'), want: [400] },
  {
    name: 'a name with a parenthesis',
    send: get('X(A): b\r\n'),
    want: [400],
    nginx: { got: [200], why: ignores },
  },
  {
    name: 'a name beyond ASCII',
    send: get('X\xe4: b\r\n'),
    want: [400],
    nginx: { got: [200], why: ignores },
  },
  { name: 'a value beyond ASCII', send: get('X-A: \xe4\r\n'), want: [200] },
  { name: 'an empty value', send: get('X-A:\r\n'), want: [200] },
  { name: 'a field of 20 kB', send: get(`X-A: ${'a'.repeat(20_000)}\r\n`), want: [431] },
  {
    name: 'fields of 20 kB together',
    send: get(`X-A: ${'a'.repeat(4000)}\r\n`.repeat(5)),
    want: [431],
    nginx: { got: [200], why: 'its bound is 32 kB' },
  },
  { name: '60 fields', send: get(many(59)), want: [200] },
  {
    name: '100 fields',
    send: get(many(99)),
    want: [431],
    nginx: { got: [200], why: 'it does not count fields' },
  },

  // Bodies, and what may be hidden in them.
  {
    name: 'a body',
    send: `${get('Content-Length: 5\r\n')}hello`,
    want: [400],
    nginx: {
      got: [200],
      why: 'a body of GET means nothing (RFC 9110 9.3.1); nginx reads past it, we refuse',
    },
  },
  {
    name: 'a request hidden in a body',
    send: get(`Content-Length: $L\r\n`) + SMUGGLED,
    want: [400],
    nginx: { got: [200], why: 'the same' },
  },
  { name: 'a body of nothing', send: get('Content-Length: 0\r\n'), want: [200] },
  {
    name: 'both lengths',
    send: `${get('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n')}0\r\n\r\n${SMUGGLED}`,
    want: [400],
  },
  {
    name: 'both lengths, the other way',
    send: `${get('Transfer-Encoding: chunked\r\nContent-Length: 0\r\n')}0\r\n\r\n${SMUGGLED}`,
    want: [400],
  },
  {
    name: 'two lengths',
    send: `${get('Content-Length: 0\r\nContent-Length: 5\r\n')}${SMUGGLED}`,
    want: [400],
  },
  {
    name: 'the same length twice',
    send: `${get('Content-Length: 0\r\nContent-Length: 0\r\n')}${SMUGGLED}`,
    want: [400],
  },
  { name: 'a list of lengths', send: `${get('Content-Length: 0, 0\r\n')}${SMUGGLED}`, want: [400] },
  { name: 'a length with a sign', send: `${get('Content-Length: +0\r\n')}${SMUGGLED}`, want: [400] },
  { name: 'a length below nothing', send: `${get('Content-Length: -1\r\n')}${SMUGGLED}`, want: [400] },
  { name: 'a length in hexadecimal', send: `${get('Content-Length: 0x0\r\n')}${SMUGGLED}`, want: [400] },
  { name: 'a length of no digits', send: `${get('Content-Length:\r\n')}${SMUGGLED}`, want: [400] },
  { name: 'a length beyond numbers', send: get(`Content-Length: ${'9'.repeat(30)}\r\n`), want: [400] },
  {
    name: 'chunks',
    send: `${get('Transfer-Encoding: chunked\r\n')}5\r\nhello\r\n0\r\n\r\n`,
    want: [400],
    nginx: { got: [200], why: 'as with a body' },
  },
  {
    name: 'a chunk that is too large to count',
    send: `${get('Transfer-Encoding: chunked\r\n')}FFFFFFFFFFFFFFFFFF\r\n`,
    want: [400],
  },
  {
    name: 'a chunk of no size',
    send: `${get('Transfer-Encoding: chunked\r\n')}xyz\r\n\r\n${SMUGGLED}`,
    want: [400],
  },
  {
    name: 'another coding',
    send: `${get('Transfer-Encoding: gzip\r\n')}${SMUGGLED}`,
    want: [400],
    nginx: {
      got: [501],
      why: 'RFC 9112 6.1 would have 501 for a coding that is not known; here no body is known',
    },
  },
  {
    name: 'chunked, and something after it',
    send: `${get('Transfer-Encoding: chunked, identity\r\n')}0\r\n\r\n${SMUGGLED}`,
    want: [400],
    nginx: {
      got: [501],
      why: 'RFC 9112 6.1 would have 501 for a coding that is not known; here no body is known',
    },
  },
  {
    name: 'chunked under a false name',
    send: `${get('Transfer-Encoding: xchunked\r\n')}0\r\n\r\n${SMUGGLED}`,
    want: [400],
    nginx: {
      got: [501],
      why: 'RFC 9112 6.1 would have 501 for a coding that is not known; here no body is known',
    },
  },
  {
    name: 'chunked, in two fields',
    send: `${get('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n')}0\r\n\r\n${SMUGGLED}`,
    want: [400],
  },
  {
    name: 'chunked behind a tab',
    send: `${get('Transfer-Encoding:\x0bchunked\r\n')}0\r\n\r\n${SMUGGLED}`,
    want: [400],
    nginx: {
      got: [501],
      why: 'RFC 9112 6.1 would have 501 for a coding that is not known; here no body is known',
    },
  },
  {
    name: 'chunked with white space before the colon',
    send: `${get('Transfer-Encoding : chunked\r\n')}0\r\n\r\n${SMUGGLED}`,
    want: [400],
  },
  {
    name: 'chunked in HTTP/1.0',
    send: `GET $T HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`,
    want: [400],
  },
  {
    name: 'chunked in a folded value',
    send: `${get('Transfer-Encoding:\r\n chunked\r\n')}0\r\n\r\n${SMUGGLED}`,
    want: [400],
  },
  { name: 'a body that waits for leave', send: get('Expect: 100-continue\r\n'), want: [200] },
  {
    name: 'another expectation',
    send: get('Expect: the-unexpected\r\n'),
    want: [417],
    nginx: { got: [200], why: 'RFC 9110 10.1.1 lets a server ignore it or answer 417' },
  },

  // Methods.
  { name: 'POST', send: `${line('POST $T HTTP/1.1', 'Content-Length: 2\r\n')}ab`, want: [405] },
  { name: 'OPTIONS', send: line('OPTIONS * HTTP/1.1'), want: [405] },
  { name: 'TRACE', send: line('TRACE $T HTTP/1.1'), want: [405] },
  { name: 'PURGE', send: line('PURGE $T HTTP/1.1'), want: [405] },
  {
    name: 'CONNECT',
    send: 'CONNECT elsewhere.test:443 HTTP/1.1\r\nHost: elsewhere.test:443\r\n\r\n',
    want: [405],
  },

  // Conditions and ranges.
  { name: 'If-None-Match', send: get('If-None-Match: $E\r\n'), want: [304] },
  { name: 'If-None-Match, weak, in a list', send: get('If-None-Match: "a,b", W/$E\r\n'), want: [304] },
  {
    name: 'If-None-Match in two fields',
    send: get('If-None-Match: "a"\r\nIf-None-Match: $E\r\n'),
    want: [304],
    nginx: { got: [400], why: 'RFC 9110 5.3: several fields are one list' },
  },
  { name: 'If-None-Match of anything', send: get('If-None-Match: *\r\n'), want: [304] },
  { name: 'If-None-Match of something else', send: get('If-None-Match: "*", "x"\r\n'), want: [200] },
  {
    name: 'If-None-Match goes before If-Modified-Since',
    send: get('If-None-Match: "x"\r\nIf-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n'),
    want: [200],
  },
  {
    name: 'If-Match is not for caches',
    send: get('If-Match: "x"\r\n'),
    want: [200],
    nginx: { got: [412], why: 'RFC 9111 4.3.2: not applicable to a cache' },
  },
  { name: 'a range', send: get('Range: bytes=0-99\r\n'), want: [206] },
  { name: 'the end of it', send: get('Range: bytes=-100\r\n'), want: [206] },
  { name: 'from somewhere on', send: get('Range: bytes=1999-\r\n'), want: [206] },
  { name: 'more than there is', send: get('Range: bytes=1000-9999999\r\n'), want: [206] },
  { name: 'a range past the end', send: get('Range: bytes=2000-\r\n'), want: [416] },
  { name: 'the last no bytes', send: get('Range: bytes=-0\r\n'), want: [416] },
  {
    name: 'a range of HEAD',
    send: line('HEAD $T HTTP/1.1', 'Range: bytes=0-9\r\n'),
    want: [200],
    bodiless: [0],
  },
  {
    name: 'a range backwards',
    send: get('Range: bytes=9-1\r\n'),
    want: [200],
    nginx: { got: [416], why: 'RFC 9110 14.1.1: invalid, and so ignored' },
  },
  { name: 'several ranges', send: get('Range: bytes=0-1,3-4\r\n'), want: [200] },
  { name: 'a thousand ranges', send: get(`Range: bytes=${'0-,'.repeat(1000)}0-\r\n`), want: [200] },
  { name: 'another unit', send: get('Range: lines=1-2\r\n'), want: [200] },
  {
    name: 'a range of nonsense',
    send: get('Range: bytes=abc\r\n'),
    want: [200],
    nginx: { got: [416], why: 'RFC 9110 14.2: ignored or refused' },
  },
  {
    name: 'a range beyond numbers',
    send: get(`Range: bytes=${'9'.repeat(40)}-\r\n`),
    want: [200],
    nginx: { got: [416], why: 'the same' },
  },
  { name: 'If-Range of this one', send: get('Range: bytes=0-9\r\nIf-Range: $E\r\n'), want: [206] },
  { name: 'If-Range of another one', send: get('Range: bytes=0-9\r\nIf-Range: "x"\r\n'), want: [200] },
  { name: 'If-Range, weak', send: get('Range: bytes=0-9\r\nIf-Range: W/$E\r\n'), want: [200] },
  {
    name: 'If-None-Match goes before Range',
    send: get('If-None-Match: $E\r\nRange: bytes=0-9\r\n'),
    want: [304],
  },

  // Several on one connection.
  { name: 'two at once', send: get() + get(), want: [200, 200] },
  { name: 'twenty at once', send: get().repeat(20), want: Array<number>(20).fill(200) },
  {
    name: 'all kinds at once',
    send:
      get() +
      line('HEAD $T HTTP/1.1') +
      get('Range: bytes=0-9\r\n') +
      get('If-None-Match: $E\r\n') +
      get('', '/nowhere') +
      get(),
    want: [200, 200, 206, 304, 404, 200],
    bodiless: [1],
  },
  {
    name: 'hot, then never heard of, then hot',
    send: get() + get('', '/targets/none') + get(),
    want: [200, 404, 200],
  },
  {
    name: 'a request and half of one',
    send: `${get()}GET $T HTTP/1.1\r\nHost: ca`,
    want: [200, 400],
    nginx: { got: [200], why: 'it closes without a word' },
  },
  { name: 'a request, then no request', send: `${get()}what is this?\r\n\r\n`, want: [200, 400] },
  { name: 'a request after the last one', send: get('Connection: close\r\n') + get(), want: [200] },
  {
    name: 'CONNECT after a request',
    send: `${get()}CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n`,
    want: [200, 405],
  },
  {
    name: 'a refused body between two',
    send: `${get()}${get('Content-Length: 5\r\n')}hello${get()}`,
    want: [200, 400],
    nginx: { got: [200, 200, 200], why: 'as with a body' },
  },
  {
    name: 'a head cut in the middle of its end',
    send: [get(), get().slice(0, -1), '\n'],
    want: [200, 200],
  },
];
