import type { Socket } from 'node:net';
import { objectName, publicPath } from '../../http/object-name.ts';
import type { ObjectName } from '../../http/object-name.ts';

/** Id of the view of all upstreams together, which clients ask by path alone. */
export const REVERSE = '';

/** What a request target names: an object in a view, or why nothing that may be served. */
export type Asked =
  | { kind: 'object'; view: string; name: ObjectName }
  | { kind: 'refused'; status: 400 | 403 | 404; text: string };

const ABSOLUTE = /^(https?:\/\/[^/?#@\\\s]{1,300})(\/.*)?$/i;

/** An allowed origin as targets are compared with it: scheme and authority in lower case, default port left out. */
export const originKey = (url: string): string => {
  const { origin, pathname } = new URL(url);
  return origin + pathname.replace(/\/+$/, '');
};

/**
 * Reads a request target (RFC 9112 3.2): origin-form asks all upstreams (reverse proxy), absolute-form asks the one
 * origin it names (forward proxy), which must be on the allow-list. The path is compared as it was sent, never
 * normalised, so that no spelling reaches what {@link publicPath} does not let through.
 *
 * @param allowed keys of {@link originKey}.
 * @param self address and port that the connection came in on: absolute-form with them means this cache itself.
 */
export function readTarget(
  target: string,
  allowed: ReadonlySet<string>,
  self: Pick<Socket, 'localAddress' | 'localPort'>,
): Asked {
  if (target.startsWith('/')) return named(REVERSE, target);
  const match = ABSOLUTE.exec(target);
  if (match === null) return { kind: 'refused', status: 400, text: 'The request target is not understood.' };
  const [, authority, path = '/'] = match as unknown as [string, string, string?];
  let origin: string;
  try {
    origin = new URL(authority).origin;
  } catch {
    return { kind: 'refused', status: 400, text: 'The request target names no host.' };
  }
  for (const key of allowed) {
    const base = key.slice(originLength(key));
    if (key.startsWith(origin) && key.length === origin.length + base.length && path.startsWith(`${base}/`))
      return named(key, path.slice(base.length));
  }
  if (origin === originOf(self)) return named(REVERSE, path);
  return { kind: 'refused', status: 403, text: 'This cache asks the origins on its list only.' };
}

/** As a client writes it: an IPv6 address in brackets, an IPv4 one that came in on a socket for both as itself. */
function originOf({ localAddress = '', localPort }: Pick<Socket, 'localAddress' | 'localPort'>): string {
  const address = localAddress.replace(/^::ffff:(?=\d+\.)/, '');
  return originKey(`http://${address.includes(':') ? `[${address}]` : address}:${localPort}`);
}

const originLength = (key: string): number => new URL(key).origin.length;

function named(view: string, path: string): Asked {
  const known = publicPath(path);
  return known === undefined
    ? {
        kind: 'refused',
        status: 404,
        text: 'This cache serves metadata/ and targets/ of its code store only.',
      }
    : { kind: 'object', view, name: objectName(known) };
}
