import { HOST } from '../../http/request-server.ts';

/** What the raw socket needs to know of a request that it may answer. */
export interface PlainRequest {
  readonly target: string;
  readonly userAgent: string | undefined;
}

/** Longer headers have more in them than a plain request, and are far below every limit of the slow path. */
const MAX_PLAIN_BYTES = 2048;
const MAX_FIELDS = 24;

/** Field names of which no value changes what a cache answers. */
const HARMLESS = new Set([
  'accept',
  'accept-encoding',
  'accept-language',
  'dnt',
  'from',
  'referer',
  'traceparent',
  'tracestate',
  'user-agent',
  'x-forwarded-for',
  'x-real-ip',
  'x-request-id',
]);

const REQUEST_LINE = /^GET ([!-~]+) HTTP\/1\.1$/;
/**
 * RFC 9110 5.6.2 token, and a value of visible ASCII; anything else, though legal, is rare. The value begins with no white
 * space, so that there is one way to read a field, however much of it there is.
 */
const FIELD = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[!-~][\t -~]*)?)$/;

/**
 * Reads the header of a request that is plain beyond doubt: a GET of HTTP/1.1 with one Host and nothing in it that could
 * change the answer, conditional, partial, past the cache or otherwise. Whatever is not, or not surely, is for node:http.
 *
 * @param head from the request line to the empty line, each byte as one character.
 * @returns undefined when it is not plain.
 */
export function readPlainRequest(head: string): PlainRequest | undefined {
  const [first, ...lines] = head.slice(0, -4).split('\r\n') as [string, ...string[]];
  const target = REQUEST_LINE.exec(first)?.[1];
  if (target === undefined || lines.length > MAX_FIELDS) return undefined;
  let host: string | undefined;
  let userAgent: string | undefined;
  for (const line of lines) {
    const field = FIELD.exec(line);
    if (field === null) return undefined;
    const name = field[1]!.toLowerCase();
    const value = field[2]!.trimEnd();
    if (name === 'host') {
      if (host !== undefined || !HOST.test(value)) return undefined;
      host = value;
    } else if (name === 'connection') {
      if (value.toLowerCase() !== 'keep-alive') return undefined;
    } else if (!HARMLESS.has(name)) return undefined;
    else if (name === 'user-agent') {
      if (userAgent !== undefined) return undefined;
      userAgent = value;
    }
  }
  return host === undefined ? undefined : { target, userAgent };
}

/** Heads are short and repeat: a site's clients differ in target and little else. */
const MAX_REMEMBERED = 4096;

/** {@link readPlainRequest}, remembering what was read before. */
export class PlainRequests {
  readonly #byHead = new Map<string, PlainRequest>();

  read(head: string): PlainRequest | undefined {
    const known = this.#byHead.get(head);
    if (known !== undefined) return known;
    if (head.length > MAX_PLAIN_BYTES) return undefined;
    const request = readPlainRequest(head);
    if (request === undefined) return undefined;
    if (this.#byHead.size >= MAX_REMEMBERED) this.#byHead.clear();
    this.#byHead.set(head, request);
    return request;
  }
}
