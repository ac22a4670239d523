import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

export interface UnreliableFront {
  url: string;
  /** Replies that were cut so far. */
  readonly cut: number;
  close(): Promise<void>;
}

/** Largest TLS record of a finished handshake's answers that is passed on untouched: tickets are off, so replies come next. */
const HANDSHAKE_BYTES = 4096;

/**
 * A front that passes TCP on to a server, but loses replies: after a connection's handshake, some of the data that the
 * server sends back is dropped and the connection reset, so that the request was carried out and its sender never knows.
 *
 * @param options.loseEvery about one reply in so many is lost, by a seeded generator.
 */
export async function startUnreliableFront(options: {
  serverUrl: string;
  loseEvery: number;
  seed: number;
}): Promise<UnreliableFront> {
  const { hostname, port } = new URL(options.serverUrl);
  const sockets = new Set<Socket>();
  let state = options.seed;
  let cut = 0;
  const draw = () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
  const server = createServer(inbound => {
    const outbound = connect(Number(port), hostname);
    for (const socket of [inbound, outbound]) {
      sockets.add(socket);
      socket.on('error', () => {
        inbound.destroy();
        outbound.destroy();
      });
      socket.on('close', () => {
        sockets.delete(socket);
        inbound.destroy();
        outbound.destroy();
      });
    }
    inbound.pipe(outbound);
    let received = 0;
    outbound.on('data', (chunk: Buffer) => {
      received += chunk.length;
      if (received > HANDSHAKE_BYTES && draw() < 1 / options.loseEvery) {
        cut += 1;
        // Not resetAndDestroy(): with a write under way, Node 26.10 never ends (it waits for that write at its exit).
        inbound.destroy();
        return;
      }
      inbound.write(chunk);
    });
  });
  await new Promise<void>(resolve => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get cut() {
      return cut;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise(resolve => {
        server.close(resolve);
      });
    },
  };
}
