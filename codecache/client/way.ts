/** A file on a way to the store, for errors and logs: the whole way, so that who is blamed is found. */
export const urlOf = (source: { cache: string }, path: string): string =>
  `${source.cache.replace(/\/+$/, '')}/${path}`;

/** What stands in the request, and to whom it goes. */
export interface WayRequest {
  origin: string;
  /** Origin-form, or absolute-form (RFC 9112 3.2.1, 3.2.2). */
  path: string;
  headers: { host: string };
}

/**
 * The request for a URL of {@link urlOf}. Behind a forward proxy it goes to that proxy and names the whole URL; never by
 * CONNECT, which would hide from the proxy what it is there to keep.
 */
export function requestOf(url: string): WayRequest {
  const behind = url.indexOf('>');
  const { origin, host, pathname, search } = new URL(url.slice(behind + 1));
  const path = pathname + search;
  const headers = { host };
  return behind < 0
    ? { origin, path, headers }
    : { origin: url.slice(0, behind), path: origin + path, headers };
}
