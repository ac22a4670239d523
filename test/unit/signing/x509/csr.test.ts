import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { readCsr } from '../../../../signing/x509/csr.ts';
import {
  writeBitString,
  writeDer,
  writeInteger,
  writeOid,
  writeSequence,
} from '../../../../signing/x509/der.ts';
import { writeName } from '../../../../signing/x509/names.ts';
import { toPem } from '../../../../signing/x509/pem.ts';
import { ecKey } from './forge.ts';

interface Parts {
  key?: KeyObject;
  signer?: KeyObject;
  version?: number;
  attributes?: Buffer[];
  algorithm?: Buffer;
  hash?: string | null;
  more?: Buffer[];
}

const ecdsaSha256 = writeSequence(writeOid('1.2.840.10045.4.3.2'));
const rsaSha256 = writeSequence(writeOid('1.2.840.113549.1.1.11'), writeDer(5));

test('a request that never ends costs no time to refuse', () => {
  const spaces = `-----BEGIN CERTIFICATE REQUEST-----${' '.repeat(16_300)}`;
  const before = process.cpuUsage();
  assert.throws(() => readCsr(spaces), { code: 'E_CSR_INVALID' });
  const { user, system } = process.cpuUsage(before);
  assert.ok(user + system < 60_000, `${(user + system) / 1000} ms`);
});

/** A request that is in order but for what is given. */
function request(parts: Parts = {}): string {
  const { key = ecKey(), version = 0, attributes = [writeDer(0xa0)], hash = 'sha256', more = [] } = parts;
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const info = writeSequence(writeInteger(version), writeName([['CN', 'x']]), spki, ...attributes);
  const signature = writeBitString(sign(hash, info, parts.signer ?? key));
  return toPem(
    writeSequence(info, parts.algorithm ?? ecdsaSha256, signature, ...more),
    'CERTIFICATE REQUEST',
  );
}

const rsa = (modulusLength: number) => generateKeyPairSync('rsa', { modulusLength }).privateKey;

test('a request in order is read, with the hash of its key', () => {
  assert.match(readCsr(request()).keyHash, /^[0-9a-f]{64}$/);
  assert.equal(readCsr(request({ attributes: [] })).subjectDn, '/CN=x');
  const { publicKey } = readCsr(request({ key: rsa(2048), algorithm: rsaSha256 }));
  assert.equal(publicKey.asymmetricKeyType, 'rsa');
});

const bad: [title: string, parts: () => Parts, found: RegExp][] = [
  ['signed by another key', () => ({ signer: ecKey() }), /does not hold it/],
  ['a 1024-bit RSA key', () => ({ key: rsa(1024), algorithm: rsaSha256 }), /1024 bits/],
  ['a P-521 key', () => ({ key: ecKey('P-521') }), /secp521r1/],
  [
    'SHA-1',
    () => ({ hash: 'sha1', algorithm: writeSequence(writeOid('1.2.840.10045.4.1')) }),
    /not accepted/,
  ],
  ['the algorithm of another key type', () => ({ algorithm: rsaSha256 }), /not accepted/],
  ['another version', () => ({ version: 1 }), /version 1/],
  ['a part too many', () => ({ more: [writeInteger(1)] }), /PKCS#10/],
  ['attributes twice', () => ({ attributes: [writeDer(0xa0), writeDer(0xa0)] }), /PKCS#10/],
  ['attributes that are none', () => ({ attributes: [writeInteger(1)] }), /0xa0/],
];
for (const [title, parts, found] of bad) {
  test(`refused: ${title}`, () => {
    const csr = request(parts());
    assert.throws(() => readCsr(csr), { code: 'E_CSR_INVALID', found, rule: /^certificate-request/ });
  });
}
