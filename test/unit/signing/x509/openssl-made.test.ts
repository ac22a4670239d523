import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { splitPem } from '../../../../signing/x509/pem.ts';
import { loadTrust } from '../../../../signing/x509/trust.ts';
import { verifyChain } from '../../../../signing/x509/verify-chain.ts';

/** Certificates that openssl made from start to end, as a site's authority and a user's tools would. */

const directory = mkdtempSync(join(tmpdir(), 'pilotage-openssl-'));
after(() => rmSync(directory, { recursive: true }));
const path = (name: string) => join(directory, name);
const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe', cwd: directory });

const keys = { ec: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'], rsa: ['rsa:2048'] } as const;
type KeyKind = keyof typeof keys;

function makeRoot(kind: KeyKind, subject: string): void {
  openssl(
    'req',
    '-x509',
    '-newkey',
    ...keys[kind],
    '-nodes',
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
    '-days',
    '9',
    '-subj',
    subject,
    '-addext',
    'keyUsage=critical,keyCertSign,cRLSign',
  );
}

function make(
  name: string,
  kind: KeyKind,
  subject: string,
  issuer: string,
  extensions: string,
  ...more: string[]
): void {
  openssl(
    'req',
    '-new',
    '-newkey',
    ...keys[kind],
    '-nodes',
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.csr`,
    '-subj',
    subject,
    '-utf8',
  );
  writeFileSync(path('ext'), extensions);
  openssl(
    'x509',
    '-req',
    '-in',
    `${name}.csr`,
    '-CA',
    `${issuer}.pem`,
    '-CAkey',
    `${issuer}.key`,
    '-CAcreateserial',
    '-days',
    '5',
    '-extfile',
    'ext',
    '-out',
    `${name}.pem`,
    ...more,
  );
}

const user =
  'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=clientAuth';
const proxy = (info: string) =>
  `keyUsage=critical,digitalSignature,keyEncipherment\nproxyCertInfo=critical,${info}`;
const chainOf = (...names: string[]) =>
  names.flatMap(name => splitPem(readFileSync(path(`${name}.pem`), 'utf8'), name));
const alice = '/DC=org/DC=example/O=Grid/CN=Ålice 1';

for (const kind of ['ec', 'rsa'] as const) {
  test(`${kind}: a user and proxies that openssl made are accepted by both`, async () => {
    makeRoot(kind, '/DC=org/DC=example/CN=Root');
    make('alice', kind, alice, 'ca', user);
    make('one', kind, `${alice}/CN=1234`, 'alice', proxy('language:id-ppl-inheritAll,pathlen:1'));
    make('two', kind, `${alice}/CN=1234/CN=77`, 'one', proxy('language:1.3.6.1.4.1.3536.1.1.1.9'));
    writeFileSync(
      path('rest.pem'),
      readFileSync(path('one.pem'), 'utf8') + readFileSync(path('alice.pem'), 'utf8'),
    );
    openssl('verify', '-allow_proxy_certs', '-CAfile', 'ca.pem', '-untrusted', 'rest.pem', 'two.pem');
    const trust = await loadTrust(path('ca.pem'));
    const { endEntity, issuerDn, depth, rights } = verifyChain(
      chainOf('two', 'one', 'alice'),
      trust,
      Date.now(),
    );
    assert.equal(endEntity.dn, '/DC=org/DC=example/O=Grid/CN=\\xC3\\x85lice 1');
    assert.deepEqual([issuerDn, depth, rights], ['/DC=org/DC=example/CN=Root', 2, 'limited']);
  });
}

test('what openssl accepts against the rules of proxies, we refuse', async () => {
  makeRoot('ec', '/DC=org/DC=example/CN=Root');
  const trust = await loadTrust(path('ca.pem'));
  make('alice', 'ec', alice, 'ca', user);
  make('limited', 'ec', `${alice}/CN=1`, 'alice', proxy('language:1.3.6.1.4.1.3536.1.1.1.9'));
  make('full', 'ec', `${alice}/CN=1/CN=2`, 'limited', proxy('language:id-ppl-inheritAll'));
  writeFileSync(
    path('rest.pem'),
    readFileSync(path('limited.pem'), 'utf8') + readFileSync(path('alice.pem'), 'utf8'),
  );
  openssl('verify', '-allow_proxy_certs', '-CAfile', 'ca.pem', '-untrusted', 'rest.pem', 'full.pem');
  assert.throws(() => verifyChain(chainOf('full', 'limited', 'alice'), trust, Date.now()), {
    rule: /^proxy-limited/,
  });

  make(
    'signer',
    'ec',
    `${alice}/CN=3`,
    'alice',
    'keyUsage=critical,digitalSignature,keyCertSign\nproxyCertInfo=critical,language:id-ppl-inheritAll',
  );
  openssl('verify', '-allow_proxy_certs', '-CAfile', 'ca.pem', '-untrusted', 'alice.pem', 'signer.pem');
  assert.throws(() => verifyChain(chainOf('signer', 'alice'), trust, Date.now()), {
    rule: /^proxy-not-authority/,
  });

  make(
    'soft',
    'ec',
    `${alice}/CN=4`,
    'alice',
    'keyUsage=critical,digitalSignature\nproxyCertInfo=language:id-ppl-inheritAll',
  );
  openssl('verify', '-allow_proxy_certs', '-CAfile', 'ca.pem', '-untrusted', 'alice.pem', 'soft.pem');
  assert.throws(() => verifyChain(chainOf('soft', 'alice'), trust, Date.now()), {
    rule: /^proxy-information/,
  });

  make('old', 'ec', `${alice}/CN=5`, 'alice', proxy('language:id-ppl-inheritAll'), '-sha1');
  assert.throws(() => verifyChain(chainOf('old', 'alice'), trust, Date.now()), { rule: /^signature-hash/ });
});
