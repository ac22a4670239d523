import assert from 'node:assert/strict';
import { createPublicKey, ECDH, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { publicKeyOf, publicParts, PublicKeyParts } from '../../../../signing/keys/key-scheme.ts';
import { keyIdOf } from '../../../../signing/keys/signer.ts';

const ec = generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).publicKey;

/** The same key with its point compressed, as some tokens export it. */
function compressed(key: KeyObject): KeyObject {
  const der = key.export({ type: 'spki', format: 'der' });
  const point = ECDH.convertKey(
    der.subarray(-65),
    'prime256v1',
    undefined,
    undefined,
    'compressed',
  ) as Buffer;
  const bits = Buffer.concat([Buffer.from([0x03, point.length + 1, 0]), point]);
  const algorithm = der.subarray(2, 23);
  const body = Buffer.concat([algorithm, bits]);
  const spki = Buffer.concat([Buffer.from([0x30, body.length]), body]);
  return createPublicKey({ key: spki, format: 'der', type: 'spki' });
}

test('a key has one id, whether its point came compressed or not', () => {
  const parts = publicParts(compressed(ec), 'here');
  assert.equal(keyIdOf(parts), keyIdOf(publicParts(ec, 'here')));
  const text = compressed(ec).export({ type: 'spki', format: 'pem' });
  assert.notEqual(text, parts.keyval.public);
  const other = PublicKeyParts.parse({ ...parts, keyval: { public: text } });
  assert.throws(() => publicKeyOf(other, 'here'), { code: 'E_KEY_UNREADABLE' });
});

test('weak RSA keys, other curves and other algorithms are refused by name', () => {
  const refused = (key: KeyObject, found: string) =>
    assert.throws(() => publicParts(key, 'file'), { code: 'E_KEY_SCHEME', where: 'file', found });
  refused(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey, 'rsa 1024 bits');
  refused(generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).publicKey, 'ec secp384r1');
  refused(generateKeyPairSync('x25519').publicKey, 'x25519');
  assert.equal(
    publicParts(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey, 'file').scheme,
    'rsassa-pss-sha256',
  );
});

test('public parts that name another scheme than the key has, or hold no key, are refused', () => {
  const { keyval } = publicParts(ec, 'here');
  const asRsa = PublicKeyParts.parse({ keytype: 'rsa', scheme: 'rsassa-pss-sha256', keyval });
  assert.throws(() => publicKeyOf(asRsa, 'file'), { code: 'E_KEY_UNREADABLE', where: 'file' });
  const nothing = PublicKeyParts.parse({
    keytype: 'ecdsa',
    scheme: 'ecdsa-sha2-nistp256',
    keyval: { public: 'x' },
  });
  assert.throws(() => publicKeyOf(nothing, 'file'), { code: 'E_KEY_UNREADABLE' });
  const short = { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: 'abcd' } };
  assert.equal(PublicKeyParts.safeParse(short).success, false);
});
