import { createConnection, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

/** Passes connections on and counts their bytes, both ways, headers and all. */
export async function startCountingProxy(
  target: string,
): Promise<{ url: string; bytes: () => number; close: () => Promise<void> }> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let bytes = 0;
  const pass = (from: Socket, to: Socket) => {
    sockets.add(from);
    from.on('data', chunk => (bytes += chunk.length));
    from.on('error', () => to.destroy());
    from.on('close', () => sockets.delete(from));
    from.pipe(to);
  };
  const server = createServer(client => {
    const upstream = createConnection(Number(port), hostname);
    pass(client, upstream);
    pass(upstream, client);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bytes: () => bytes,
    close: () =>
      new Promise<void>(resolve => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
