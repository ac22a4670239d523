import type { IncomingHttpHeaders } from 'node:http';

/** What a request asks of the cache (RFC 9111 5.2.1), and the caches it came through. */
export interface Wish {
  /** Past the cache, as often as `RenewalLimits` lets: from another upstream first when there is one. */
  noCache: boolean;
  /** Only what is kept and fresh; nobody is asked. */
  onlyIfCached?: boolean;
  /** The caches this request came through, this one last. */
  via: string;
  /** Its header fields, for answers that vary by them. */
  fields?: IncomingHttpHeaders;
}
