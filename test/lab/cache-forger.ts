import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Ending } from './temporary.ts';

export interface Forger {
  url: string;
  /** Requests so far, by path. */
  count(path: string): number;
  /** Paths of all requests so far, in order. */
  asked: string[];
  readonly requests: number;
  close(): Promise<void>;
}

/**
 * An origin in the hands of somebody else: of the real files it serves what `forge` makes of them, for ever fresh, with a
 * length and a tag that fit what it sends.
 *
 * @param forge the body to send for a path, the real one if it is to be believed; undefined: 404.
 */
export async function startForger(
  t: Ending,
  options: {
    files: ReadonlyMap<string, Buffer>;
    forge?: (path: string, body: Buffer | undefined) => Buffer | undefined;
    port?: number;
  },
): Promise<Forger> {
  const { files, forge = flipped, port = 0 } = options;
  const asked: string[] = [];
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    const path = (request.url ?? '').slice(1);
    asked.push(path);
    const body = forge(path, files.get(path));
    if (body === undefined) {
      response.writeHead(404, { 'cache-control': 'max-age=31536000' }).end();
      return;
    }
    response.writeHead(200, {
      'cache-control': 'public, max-age=31536000, immutable, stale-if-error=31536000',
      'content-length': body.length,
      etag: `"${body.length}-forged"`,
    });
    response.end(request.method === 'HEAD' ? undefined : body);
  };
  const server = createServer(answer);
  const forger: Forger = {
    url: '',
    asked,
    get requests() {
      return asked.length;
    },
    count: path => asked.filter(name => name === path).length,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  forger.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  t.after(() => forger.close());
  return forger;
}

/** One bit of the middle is another. */
export const flipped = (_path: string, body: Buffer | undefined): Buffer | undefined => {
  if (body === undefined) return undefined;
  const forged = Buffer.from(body);
  forged[Math.floor(forged.length / 2)]! ^= 1;
  return forged;
};
