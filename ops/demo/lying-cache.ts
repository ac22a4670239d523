import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Agent, request } from 'undici';

export interface LyingCache {
  readonly url: string;
  /** Paths whose body it changed. */
  readonly lies: readonly string[];
  close(): Promise<void>;
}

/**
 * A caching proxy gone bad: passes everything on from a good cache, but flips one bit in the middle of every pilot
 * tarball. It shows that a cache can withhold, never forge.
 */
export async function startLyingCache(upstream: string): Promise<LyingCache> {
  const lies: string[] = [];
  const agent = new Agent({ headersTimeout: 10_000, bodyTimeout: 10_000 });
  const server = createServer((incoming, outgoing) => {
    void (async () => {
      const reply = await request(upstream + incoming.url, { method: 'GET', dispatcher: agent });
      const body = Buffer.from(await reply.body.arrayBuffer());
      if (/\/targets\/pilot\/.*\.tar\.gz$/.test(incoming.url ?? '') && reply.statusCode === 200) {
        body[body.length >> 1]! ^= 1;
        lies.push(incoming.url!);
      }
      outgoing
        .writeHead(reply.statusCode, { 'content-length': body.length, 'cache-control': 'no-store' })
        .end(body);
    })().catch(() => outgoing.writeHead(502).end());
  });
  await new Promise<void>(resolve => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    lies,
    async close() {
      server.closeAllConnections();
      await new Promise(resolve => {
        server.close(resolve);
      });
      await agent.destroy();
    },
  };
}
