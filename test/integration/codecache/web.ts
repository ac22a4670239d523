import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';

export { temporaryDirectory } from '../../lab/temporary.ts';

export interface Got {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
  /** False when the connection ended before the announced length. */
  complete: boolean;
}

/** One request on its own connection; never rejects for a cut body. */
export function get(
  url: string,
  options: { headers?: Record<string, string>; method?: string; path?: string } = {},
): Promise<Got> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      url,
      {
        agent: false,
        method: options.method ?? 'GET',
        headers: options.headers ?? {},
        ...(options.path !== undefined && { path: options.path }),
        timeout: 20_000,
      },
      reply => {
        const chunks: Buffer[] = [];
        let settled = false;
        const done = () => {
          if (settled) return;
          settled = true;
          resolve({
            status: reply.statusCode ?? 0,
            headers: reply.headers,
            body: Buffer.concat(chunks),
            complete: reply.complete,
          });
        };
        reply.on('data', (chunk: Buffer) => chunks.push(chunk));
        reply.on('error', done);
        reply.on('close', done);
        reply.on('end', done);
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer from ${url} in 20 s`)));
    outgoing.on('error', reject);
    outgoing.end();
  });
}

export const sha256 = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');

/** Writes files below a directory. */
export async function plant(directory: string, files: Record<string, Buffer | string>): Promise<void> {
  for (const [path, bytes] of Object.entries(files)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), bytes);
  }
}

const made = new Map<string, string>();

/** Signed metadata without signatures; the same bytes for the same arguments, whatever second it is. */
export function metadata(type: string, version: number, expiresInSeconds = 3600): string {
  const key = `${type} ${version} ${expiresInSeconds}`;
  const expires = new Date(Date.now() + expiresInSeconds * 1000).toISOString().replace(/\.\d+/, '');
  const text = made.get(key) ?? JSON.stringify({ signatures: [], signed: { _type: type, expires, version } });
  made.set(key, text);
  return text;
}

export interface Upstream {
  url: string;
  /** Requests so far, by path. */
  counts: Map<string, number>;
  count(path: string): number;
  close(): Promise<void>;
}

/** A real HTTP server whose behaviour a test decides, with a count of the requests per path. */
export async function upstream(
  t: TestContext,
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Upstream> {
  const counts = new Map<string, number>();
  const server = createServer((request, response) => {
    const path = (request.url ?? '').slice(1);
    counts.set(path, (counts.get(path) ?? 0) + 1);
    handler(request, response);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const close = () =>
    new Promise<void>(resolve => {
      server.closeAllConnections();
      server.close(() => resolve());
    });
  t.after(() => close().catch(() => undefined));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    counts,
    count: path => counts.get(path) ?? 0,
    close,
  };
}

/** Polls until `check` holds. */
export async function waitUntil(
  check: () => boolean | Promise<boolean>,
  what: string,
  seconds = 15,
): Promise<void> {
  const deadline = Date.now() + seconds * 1000;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}
