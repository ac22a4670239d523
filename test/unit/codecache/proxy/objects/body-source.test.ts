import assert from 'node:assert/strict';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { sendSource } from '../../../../../codecache/proxy/objects/body-source.ts';
import type { BodySource } from '../../../../../codecache/proxy/objects/body-source.ts';

test('a client that leaves while the next bytes are read lets go of the source', async () => {
  const sent = Promise.withResolvers<void>();
  const bytes = 10_000_000;
  let freed = 0;
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-length': bytes });
    const left = new Promise(resolve => response.once('close', resolve));
    let reads = 0;
    const source: BodySource = {
      bytes,
      storedMs: 0,
      read: async () => {
        reads += 1;
        if (reads > 1) await left;
        return { bytes: Buffer.alloc(1 << 18), free: () => void (freed += 1) };
      },
      release: () => Promise.resolve(),
    };
    sendSource(response, source, 0, bytes - 1).then(() => sent.resolve(), sent.reject);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const client = get({ host: '127.0.0.1', port: (server.address() as AddressInfo).port }, reply => {
    reply.on('error', () => undefined).once('data', () => client.destroy());
  });
  client.on('error', () => undefined);
  const deadline = setTimeout(() => sent.reject(new Error('not within 5 s')), 5000);
  try {
    await sent.promise;
    assert.ok(client.destroyed);
    assert.equal(freed, 2, 'also what was read for nobody');
  } finally {
    clearTimeout(deadline);
    server.close();
  }
});
