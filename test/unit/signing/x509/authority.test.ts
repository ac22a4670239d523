import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  createAuthority,
  issueCertificate,
  newKey,
  openAuthority,
  type Authority,
} from '../../../../signing/x509/authority.ts';
import { createCsr, readCsr } from '../../../../signing/x509/csr.ts';
import { toPem } from '../../../../signing/x509/pem.ts';
import { createProxy } from '../../../../signing/x509/proxy.ts';
import { proxyPolicies } from '../../../../signing/x509/extensions.ts';
import { trustFromPem } from '../../../../signing/x509/trust.ts';
import { verifyChain } from '../../../../signing/x509/verify-chain.ts';

const directory = mkdtempSync(join(tmpdir(), 'pilotage-x509-'));
after(() => rmSync(directory, { recursive: true }));

const nowMs = Math.floor(Date.now() / 1000) * 1000;
const root = await createAuthority({
  commonName: 'dev CA',
  instance: 'test',
  days: 30,
  pathLength: 1,
  permittedDns: ['localhost'],
  permittedIps: ['127.0.0.0/8', '::1/128'],
});
const sub = await createAuthority({
  commonName: 'pilot authority',
  instance: 'test',
  days: 30,
  pathLength: 0,
  usage: 'client',
  issuer: root,
});
const trust = trustFromPem([{ file: 'ca.pem', pem: root.certificatePem }], 'ca.pem');

const subject = (commonName: string) =>
  [
    ['O', 'Pilotage'],
    ['OU', 'test'],
    ['CN', commonName],
  ] as const;

async function issue(
  authority: Authority,
  commonName: string,
  options: { usage?: 'client' | 'server'; hosts?: string[]; validSeconds?: number } = {},
) {
  const key = newKey();
  const issued = await issueCertificate({
    authority,
    csrPem: createCsr({ privateKey: key, subject: [['CN', 'whatever']] }),
    subject: subject(commonName),
    validSeconds: options.validSeconds ?? 3600,
    usage: options.usage ?? 'client',
    subjectAltNames: options.hosts ?? [],
    nowMs,
  });
  return { ...issued, key };
}

/** What `openssl verify` says of a chain: undefined when it accepts. */
function openssl(chain: Buffer[], ...options: string[]): string | undefined {
  const file = (name: string, ders: Buffer[]) => {
    const path = join(directory, name);
    writeFileSync(path, ders.map(der => toPem(der)).join(''));
    return path;
  };
  const untrusted = chain.length > 1 ? ['-untrusted', file('rest.pem', chain.slice(1))] : [];
  const args = [
    'verify',
    '-x509_strict',
    '-allow_proxy_certs',
    ...options,
    '-CAfile',
    file('ca.pem', [root.certificate.der]),
  ];
  try {
    execFileSync('openssl', [...args, ...untrusted, file('leaf.pem', chain.slice(0, 1))], { stdio: 'pipe' });
    return undefined;
  } catch (error) {
    return String((error as { stderr: Buffer }).stderr);
  }
}

test('openssl accepts what we issue, and we accept it too', async () => {
  const user = await issue(root, 'alice');
  const pilot = await issue(sub, 'pilot 01');
  const server = await issue(root, 'server', { usage: 'server', hosts: ['localhost', '127.0.0.1', '::1'] });
  const full = await createProxy({ issuerChain: user.chain, issuerKey: user.key, validSeconds: 600 });
  const limited = await createProxy({
    issuerChain: full.chain,
    issuerKey: full.privateKey!,
    validSeconds: 600,
    limited: true,
    pathLength: 0,
  });
  for (const chain of [user.chain, pilot.chain, full.chain, limited.chain]) {
    assert.equal(openssl(chain, '-purpose', 'sslclient'), undefined);
    verifyChain(chain, trust, nowMs);
  }
  for (const host of [
    ['-verify_hostname', 'localhost'],
    ['-verify_ip', '127.0.0.1'],
    ['-verify_ip', '::1'],
  ]) {
    assert.equal(openssl(server.chain, '-purpose', 'sslserver', ...host), undefined);
  }
  verifyChain(server.chain, trust, nowMs, { usage: 'server' });
  const { depth, limited: isLimited, rights, policies } = verifyChain(limited.chain, trust, nowMs);
  assert.deepEqual([depth, isLimited, rights], [2, true, 'limited']);
  assert.deepEqual(policies, [proxyPolicies.limited, proxyPolicies.inheritAll]);
});

test('openssl and we refuse a name outside the constraints of the authority', async () => {
  const elsewhere = await issue(root, 'server', { usage: 'server', hosts: ['example.org'] });
  assert.match(openssl(elsewhere.chain) ?? '', /permitted subtree violation/);
  assert.throws(() => verifyChain(elsewhere.chain, trust, nowMs, { usage: 'server' }), {
    rule: /^name-constraints/,
  });
  const other = await createAuthority({
    commonName: 'x',
    instance: 'other',
    days: 1,
    pathLength: 0,
    issuer: root,
  });
  const user = await issue(other, 'eve');
  assert.match(openssl(user.chain) ?? '', /permitted subtree violation/);
  assert.throws(() => verifyChain(user.chain, trust, nowMs), { rule: /^name-constraints/ });
});

test('a proxy beyond path length 0 is refused by both', async () => {
  const user = await issue(root, 'alice');
  const last = await createProxy({
    issuerChain: user.chain,
    issuerKey: user.key,
    validSeconds: 60,
    pathLength: 0,
  });
  const more = await createProxy({ issuerChain: last.chain, issuerKey: last.privateKey!, validSeconds: 60 });
  assert.match(openssl(more.chain) ?? '', /path length/);
  assert.throws(() => verifyChain(more.chain, trust, nowMs), { rule: /^proxy-path-length/ });
});

test('what openssl asks for by a request we read, and ours openssl reads', async () => {
  const path = (name: string) => join(directory, name);
  for (const [type, option] of [
    ['ec', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256']],
    ['rsa', ['-newkey', 'rsa:2048']],
    ['ed25519', ['-newkey', 'ed25519']],
  ] as const) {
    const args = ['req', '-new', ...option, '-nodes', '-keyout', path('k.pem'), '-subj', '/O=Any/CN=a b'];
    const csrPem = execFileSync('openssl', [...args, '-addext', 'subjectAltName=DNS:evil.org'], {
      stdio: 'pipe',
    }).toString();
    const read = readCsr(csrPem);
    assert.equal(read.publicKey.asymmetricKeyType, type);
    assert.equal(read.subjectDn, '/O=Any/CN=a b');
    const issued = await issueCertificate({
      authority: sub,
      csrPem,
      subject: subject('pilot 1'),
      validSeconds: 60,
      usage: 'client',
    });
    assert.equal(issued.keyHash, read.keyHash);
    assert.equal(issued.dn, '/O=Pilotage/OU=test/CN=pilot 1');
    assert.equal(verifyChain(issued.chain, trust, nowMs).leafKeyHash, read.keyHash);
    assert.equal(openssl(issued.chain), undefined);
  }
  for (const key of [
    newKey(),
    generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
    generateKeyPairSync('ed25519').privateKey,
  ]) {
    writeFileSync(path('ours.csr'), createCsr({ privateKey: key, subject: subject('pilot é') }));
    const text = execFileSync(
      'openssl',
      ['req', '-in', path('ours.csr'), '-noout', '-verify', '-subject', '-nameopt', 'RFC2253'],
      { stdio: 'pipe' },
    ).toString();
    assert.match(text, /CN=pilot \\C3\\A9,OU=test,O=Pilotage/);
  }
});

test('requests that are not in order are refused', () => {
  const csr = createCsr({ privateKey: newKey(), subject: [['CN', 'x']] });
  const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
  assert.throws(() => createCsr({ privateKey: small, subject: [['CN', 'x']] }), { code: 'E_CSR_INVALID' });
  const swapped = createCsr({ privateKey: newKey(), subject: [['CN', 'x']] });
  const der = (pem: string) => Buffer.from(pem.split('\n').slice(1, -2).join(''), 'base64');
  const spliced = Buffer.concat([der(csr).subarray(0, -72), der(swapped).subarray(-72)]);
  for (const bad of [
    '',
    'x',
    csr + csr,
    csr.replaceAll('REQUEST', 'REVOCATION'),
    toPem(spliced, 'CERTIFICATE REQUEST'),
    ' '.repeat(20_000) + csr,
  ]) {
    assert.throws(() => readCsr(bad), { code: 'E_CSR_INVALID' });
  }
});

test('life: dated back five minutes, never longer than the authority, refused after its end', async () => {
  const pilot = await issue(sub, 'pilot 1', { validSeconds: 600 });
  assert.equal(pilot.notAfterMs, nowMs + 600_000);
  assert.equal(pilot.notBeforeMs, Math.max(nowMs - 300_000, sub.certificate.notBeforeMs));
  const long = await issue(sub, 'pilot 1', { validSeconds: 400 * 86_400 });
  assert.equal(long.notAfterMs, sub.certificate.notAfterMs);
  const late = {
    authority: sub,
    publicKey: createPublicKey(newKey()),
    subject: subject('x'),
    validSeconds: 60,
    usage: 'client' as const,
  };
  await assert.rejects(issueCertificate({ ...late, nowMs: nowMs + 31 * 86_400_000 }), {
    code: 'E_AUTHORITY_EXPIRED',
  });
  await assert.rejects(issueCertificate({ ...late, nowMs: nowMs - 86_400_000 }), {
    code: 'E_AUTHORITY_EXPIRED',
  });
});

test('serial numbers and keys differ, subjects are bounded and free of control characters', async () => {
  const [one, two] = [await issue(sub, 'pilot 1'), await issue(sub, 'pilot 1')];
  assert.notEqual(one.serial, two.serial);
  assert.match(one.serial, /^[0-9A-F]{32}$/);
  for (const bad of ['', 'x'.repeat(65), 'a\nb', 'a\u0000b']) {
    await assert.rejects(issue(sub, bad), { code: 'E_SUBJECT_INVALID' }, JSON.stringify(bad));
  }
  const tricky = await issue(root, 'alice/CN=root+x\\é');
  assert.equal(tricky.dn, '/O=Pilotage/OU=test/CN=alice\\x2FCN=root\\x2Bx\\x5C\\xC3\\xA9');
  assert.equal(verifyChain(tricky.chain, trust, nowMs).endEntity.dn, tricky.dn);
  assert.equal((await issue(root, '#04')).dn, '/O=Pilotage/OU=test/CN=\\x2304');
});

test('an authority is taken up from its files, with its own key only', async () => {
  const pem = (authority: Authority) => authority.privateKey.export({ type: 'pkcs8', format: 'pem' });
  const chainPem = sub.intermediates.map(der => toPem(der)).join('');
  const opened = openAuthority(chainPem, pem(sub), 'pilot-authority.pem');
  const pilot = await issue(opened, 'pilot 2');
  assert.equal(verifyChain(pilot.chain, trust, nowMs).issuerDn, '/O=Pilotage/OU=test/CN=pilot authority');
  assert.throws(() => openAuthority(chainPem, pem(root), 'a.pem'), {
    code: 'E_AUTHORITY_INVALID',
    where: 'a.pem',
  });
  assert.throws(
    () => openAuthority(pilot.certificatePem, pilot.key.export({ type: 'pkcs8', format: 'pem' }), 'b.pem'),
    { code: 'E_AUTHORITY_INVALID' },
  );
  assert.throws(() => openAuthority(chainPem, 'nonsense', 'c.pem'), { code: 'E_KEY_UNREADABLE' });
  assert.throws(() => openAuthority('', '', 'd.pem'), { code: 'E_CERTIFICATE_UNREADABLE', where: 'd.pem' });
});

test('networks that are none, and proxies by a foreign key, are refused', async () => {
  for (const network of ['127.0.0.0', '127.0.0.0/33', 'x/8', '::1/129', '1.2.3.4/8/9']) {
    const options = { commonName: 'x', instance: 'i', days: 1, pathLength: 0, permittedIps: [network] };
    await assert.rejects(createAuthority(options), { code: 'E_AUTHORITY_INVALID', found: network });
  }
  const user = await issue(root, 'alice');
  await assert.rejects(createProxy({ issuerChain: user.chain, issuerKey: newKey(), validSeconds: 60 }), {
    code: 'E_KEY_UNREADABLE',
  });
  await assert.rejects(createProxy({ issuerChain: [], issuerKey: user.key, validSeconds: 60 }), {
    code: 'E_CHAIN_INVALID',
  });
});
