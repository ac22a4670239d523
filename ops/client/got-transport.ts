import { Agent } from 'node:https';
import got from 'got';
import { transportError } from '../../lib/transport.ts';
import type { ClientTls, Transport } from '../../lib/transport.ts';

/** The transport of the command line: got, one connection pool per command, no resumed TLS sessions, no retries of its own. */
export function gotTransport(tls: ClientTls): Transport {
  const agent = new Agent({ keepAlive: true, maxCachedSessions: 0 });
  const client = got.extend({
    agent: { https: agent },
    https: {
      certificateAuthority: tls.ca,
      ...(tls.cert !== undefined && { certificate: tls.cert }),
      ...(tls.key !== undefined && { key: tls.key }),
    },
    retry: { limit: 0 },
    throwHttpErrors: false,
    followRedirect: false,
  });
  return {
    async send({ url, method, headers, body, deadlineMs, signal }) {
      try {
        const reply = await client(url, {
          method,
          headers,
          timeout: { request: deadlineMs },
          ...(body !== null && { body }),
          ...(signal && { signal }),
        });
        return { status: reply.statusCode, headers: reply.headers, text: reply.body };
      } catch (error) {
        signal?.throwIfAborted();
        throw transportError(error, url, (error as Error).name === 'TimeoutError', deadlineMs);
      }
    },
    async close() {
      agent.destroy();
    },
  };
}
