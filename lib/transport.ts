import { Agent, request } from 'undici';
import type { PilotageError } from './errors.ts';
import { libError } from './errors.ts';

export interface TransportRequest {
  url: string;
  method: 'GET' | 'POST';
  headers: Record<string, string>;
  body: string | null;
  deadlineMs: number;
  signal?: AbortSignal | undefined;
}

export interface TransportReply {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
}

/** How an API call travels: one request, one reply, bounded in time and size; throws E_UNREACHABLE, E_TIMEOUT. */
export interface Transport {
  send(request: TransportRequest): Promise<TransportReply>;
  close(): Promise<void>;
}

/** PEM texts. `ca` is the only authority trusted; `cert` is the whole chain, leaf first. */
export interface ClientTls {
  ca: string;
  cert?: string | undefined;
  key?: string | undefined;
}

export const MAX_REPLY_BYTES = 64 << 20;

/** The transport of agent, autopilot and server: undici with its own pool; TLS sessions are never kept for resumption. */
export function undiciTransport(tls: ClientTls): Transport {
  const agent = new Agent({
    connect: {
      ca: tls.ca,
      ...(tls.cert !== undefined && { cert: tls.cert }),
      ...(tls.key !== undefined && { key: tls.key }),
      timeout: 10_000,
      maxCachedSessions: 0,
    },
    connections: 8,
    keepAliveTimeout: 30_000,
  });
  return {
    async send({ url, method, headers, body, deadlineMs, signal }) {
      const timeout = AbortSignal.timeout(deadlineMs);
      try {
        const response = await request(url, {
          method,
          headers,
          body,
          dispatcher: agent,
          signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
          headersTimeout: deadlineMs,
          bodyTimeout: deadlineMs,
        });
        const text = await readBounded(response.body, url);
        return { status: response.statusCode, headers: response.headers, text };
      } catch (error) {
        signal?.throwIfAborted();
        throw transportError(error, url, timeout.aborted, deadlineMs);
      }
    },
    close: () => agent.destroy(),
  };
}

async function readBounded(body: AsyncIterable<Uint8Array>, url: string): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of body) {
    size += part.length;
    if (size > MAX_REPLY_BYTES) {
      throw libError({
        code: 'E_PROTOCOL',
        message: 'The answer is larger than any answer should be.',
        where: url,
        expected: `at most ${MAX_REPLY_BYTES} bytes`,
        fix: 'Ask for less at once.',
      });
    }
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** Says what a failed connection means: E_TIMEOUT or E_UNREACHABLE, naming the server and what to look at. */
export function transportError(
  error: unknown,
  url: string,
  timedOut: boolean,
  deadlineMs: number,
): PilotageError {
  const origin = new URL(url).origin;
  const cause = error as NodeJS.ErrnoException;
  if (cause.name === 'PilotageError') return cause as PilotageError;
  if (timedOut || /TIMEOUT|TIMEDOUT/.test(cause.code ?? '')) {
    return libError({
      code: 'E_TIMEOUT',
      message: `The server did not answer within ${deadlineMs / 1000} s.`,
      where: origin,
      fix: 'Is it overloaded, or a firewall in between?',
      cause,
    });
  }
  const untrusted = /CERT|SELF_SIGNED|UNABLE_TO|ALTNAME/.test(cause.code ?? '');
  return libError({
    code: 'E_UNREACHABLE',
    message: untrusted
      ? `The server's certificate is not accepted (${cause.code}).`
      : `The server cannot be reached (${cause.code ?? cause.message}).`,
    where: origin,
    fix: untrusted
      ? 'Check the authority given as server CA, and the address.'
      : 'Is the server running there?',
    cause,
  });
}
