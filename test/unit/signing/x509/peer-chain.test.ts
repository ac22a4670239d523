import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { connect, createServer as createTlsServer, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { Agent, request } from 'undici';
import type { PilotageError } from '../../../../lib/errors.ts';
import {
  createAuthority,
  issueCertificate,
  newKey,
  type Authority,
} from '../../../../signing/x509/authority.ts';
import { peerChain, serverTlsOptions } from '../../../../signing/x509/peer-chain.ts';
import { toPem } from '../../../../signing/x509/pem.ts';
import { createProxy, type IssuedProxy } from '../../../../signing/x509/proxy.ts';
import { trustFromPem, type TrustAnchors } from '../../../../signing/x509/trust.ts';
import { verifyChain } from '../../../../signing/x509/verify-chain.ts';

const pem = (key: ReturnType<typeof newKey>) => key.export({ type: 'pkcs8', format: 'pem' });

let root: Authority;
let trust: TrustAnchors;
let alice: { chain: Buffer[]; key: ReturnType<typeof newKey> };
let bob: { chain: Buffer[]; key: ReturnType<typeof newKey> };
let proxy: IssuedProxy;
let identity: { certificatePem: string; keyPem: string };
let server: Server;
let port: number;

async function issue(authority: Authority, commonName: string, usage: 'client' | 'server', hosts?: string[]) {
  const key = newKey();
  const issued = await issueCertificate({
    authority,
    publicKey: createPublicKey(key),
    subject: [
      ['O', 'Pilotage'],
      ['OU', 'test'],
      ['CN', commonName],
    ],
    validSeconds: 3600,
    usage,
    ...(hosts ? { subjectAltNames: hosts } : {}),
  });
  return { chain: issued.chain, chainPem: issued.chainPem, key };
}

before(async () => {
  root = await createAuthority({
    commonName: 'dev CA',
    instance: 'test',
    days: 1,
    pathLength: 1,
    permittedDns: ['localhost'],
    permittedIps: ['127.0.0.0/8'],
  });
  const sub = await createAuthority({
    commonName: 'users',
    instance: 'test',
    days: 1,
    pathLength: 0,
    issuer: root,
  });
  trust = trustFromPem([{ file: 'ca.pem', pem: root.certificatePem }], 'ca.pem');
  alice = await issue(sub, 'alice', 'client');
  bob = await issue(sub, 'bob', 'client');
  const first = await createProxy({ issuerChain: alice.chain, issuerKey: alice.key, validSeconds: 600 });
  proxy = await createProxy({ issuerChain: first.chain, issuerKey: first.privateKey!, validSeconds: 600 });
  const host = await issue(root, 'server', 'server', ['localhost', '127.0.0.1']);
  identity = { certificatePem: host.chainPem, keyPem: pem(host.key) };
  server = createServer(serverTlsOptions(identity), (incoming, answer) => {
    try {
      const chain = peerChain(incoming.socket as TLSSocket);
      const { endEntity, depth, rights, leafKeyHash } = verifyChain(chain, trust, Date.now());
      answer.end(JSON.stringify({ dn: endEntity.dn, depth, rights, leafKeyHash, sent: chain.length }));
    } catch (error) {
      const { code, rule, where } = error as PilotageError;
      answer.writeHead(401).end(JSON.stringify({ code, rule, where }));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  ({ port } = server.address() as AddressInfo);
});

after(async () => {
  server.close();
  server.closeAllConnections();
  await once(server, 'close');
});

const versions = ['TLSv1.2', 'TLSv1.3'] as const;
type Version = (typeof versions)[number];

async function ask(version: Version, credential?: { cert: string; key: string }): Promise<unknown> {
  const agent = new Agent({
    connect: { ca: root.certificatePem, minVersion: version, maxVersion: version, ...credential },
  });
  try {
    const { body } = await request(`https://127.0.0.1:${port}/`, { dispatcher: agent });
    return await body.json();
  } finally {
    await agent.close();
  }
}

const chainPem = (chain: Buffer[]) => chain.map(der => toPem(der)).join('');

for (const version of versions) {
  test(`${version}: the whole chain with two proxies arrives in order and is judged`, async () => {
    const answer = await ask(version, { cert: proxy.chainPem, key: pem(proxy.privateKey!) });
    const { leafKeyHash, ...rest } = answer as { leafKeyHash: string };
    assert.match(leafKeyHash, /^[0-9a-f]{64}$/);
    assert.deepEqual(rest, { dn: '/O=Pilotage/OU=test/CN=alice', depth: 2, rights: 'full', sent: 4 });
  });

  test(`${version}: a caller without a certificate is refused`, async () => {
    const answer = (await ask(version)) as { code: string; where: string };
    assert.deepEqual([answer.code, answer.where], ['E_NO_CERTIFICATE', 'TLS connection']);
  });

  test(`${version}: a certificate of a stranger gets through TLS and is refused by us`, async () => {
    const rogue = await createAuthority({ commonName: 'dev CA', instance: 'test', days: 1, pathLength: 0 });
    const mallory = await issue(rogue, 'alice', 'client');
    const answer = await ask(version, { cert: mallory.chainPem, key: pem(mallory.key) });
    assert.equal((answer as { code: string }).code, 'E_CHAIN_UNTRUSTED');
  });

  test(`${version}: 13 certificates are refused`, async () => {
    const many = [...alice.chain, ...(await strangers(11))];
    const answer = await ask(version, { cert: chainPem(many), key: pem(alice.key) });
    assert.deepEqual(answer, {
      code: 'E_CHAIN_INVALID',
      rule: 'chain-bounds: our bound',
      where: 'TLS connection',
    });
  });

  test(`${version}: a session offered again is never resumed, and shows who calls now`, async () => {
    const session = await sessionOf(port, version, alice);
    for (const caller of [alice, bob]) {
      const socket = await open(port, version, { ...credential(caller), ...(session ? { session } : {}) });
      assert.equal(socket.isSessionReused(), false);
      socket.destroy();
    }
  });

  test(`${version}: where a server does resume, the resumed session is refused`, async () => {
    const codes: string[] = [];
    const careless = createTlsServer({
      ...serverTlsOptions(identity),
      secureOptions: 0,
      sessionIdContext: 'careless',
    });
    careless.on('secureConnection', socket => {
      try {
        peerChain(socket);
        codes.push('taken');
      } catch (error) {
        codes.push((error as PilotageError).code);
      }
      socket.on('error', () => socket.destroy());
      socket.end('.');
    });
    careless.listen(0, '127.0.0.1');
    await once(careless, 'listening');
    const { port: other } = careless.address() as AddressInfo;
    try {
      const session = await sessionOf(other, version, alice);
      assert.ok(session, 'the careless server gives a session');
      const socket = await open(other, version, { ...credential(bob), session });
      assert.equal(socket.isSessionReused(), true, 'this test needs a resumed session');
      socket.resume();
      await once(socket, 'close');
      assert.deepEqual(codes, ['taken', 'E_SESSION_RESUMED']);
    } finally {
      careless.close();
    }
  });
}

test('TLSv1.2: a caller cannot renegotiate, so it cannot become another one on the way', async () => {
  const socket = await open(port, 'TLSv1.2', credential(alice));
  const failed = new Promise<Error | null>(resolve => {
    socket.once('error', resolve);
    socket.renegotiate({ rejectUnauthorized: true }, resolve);
  });
  socket.resume();
  assert.match(String(await failed), /no.renegotiation|renegotiat/i);
  socket.destroy();
});

const credential = (caller: typeof alice) => ({ cert: chainPem(caller.chain), key: pem(caller.key) });

async function open(port: number, version: Version, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({
    host: '127.0.0.1',
    port,
    ca: root.certificatePem,
    minVersion: version,
    maxVersion: version,
    ...options,
  });
  await once(socket, 'secureConnect', { signal: AbortSignal.timeout(10_000) });
  return socket;
}

/** The session that a server hands out, after it has answered; undefined when it hands out none. */
async function sessionOf(port: number, version: Version, caller: typeof alice): Promise<Buffer | undefined> {
  let session: Buffer | undefined;
  const socket = await open(port, version, credential(caller));
  if (version === 'TLSv1.2') session = socket.getSession();
  socket.on('session', given => {
    session = given;
  });
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  socket.resume();
  await once(socket, 'close', { signal: AbortSignal.timeout(10_000) });
  return session;
}

async function strangers(count: number): Promise<Buffer[]> {
  const found: Buffer[] = [];
  while (found.length < count) found.push((await issue(root, `x${found.length}`, 'client')).chain[0]!);
  return found;
}
