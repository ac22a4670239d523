import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import type { Ending } from '../../lab/temporary.ts';

/**
 * A TCP relay in front of a server. Once armed, it lets the next request through and cuts the connection when the answer
 * comes: the server has acted, the client knows nothing.
 */
export async function startLossyRelay(
  test: Ending,
  targetUrl: string,
): Promise<{ url: string; loseNextReply: () => void; lost: () => number }> {
  const target = new URL(targetUrl);
  const sockets = new Set<Socket>();
  let armed = false;
  let lost = 0;
  const relay = createServer(client => {
    const server = connect(Number(target.port), target.hostname);
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    client.pipe(server);
    server.on('data', data => {
      if (!armed) {
        client.write(data);
        return;
      }
      armed = false;
      lost += 1;
      client.destroy();
      server.destroy();
    });
  });
  await new Promise<void>(resolve => relay.listen(0, '127.0.0.1', resolve));
  test.after(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise(resolve => relay.close(resolve));
  });
  const { port } = relay.address() as AddressInfo;
  return {
    url: `https://127.0.0.1:${port}`,
    loseNextReply: () => {
      armed = true;
    },
    lost: () => lost,
  };
}
