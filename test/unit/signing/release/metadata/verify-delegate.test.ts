import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { test } from 'node:test';
import { parseMetadata } from '../../../../../signing/release/metadata/role-metadata.ts';
import { verifyDelegate } from '../../../../../signing/release/metadata/verify-delegate.ts';
import { canonicalBytes } from '../../../../../signing/stable-json.ts';
import { newKey, signWith, TufSimulator, type Signed } from '../../../../lab/tuf-simulator.ts';

const refusal = { message: 'Refused', where: 'here', rule: 'threshold', fix: 'none' };

const { roles } = new TufSimulator();
const signed = roles.get('timestamp')!;

/** A root that wants `threshold` of the given keys for the timestamp, and a timestamp with the given signatures. */
function check(keys: Signed, threshold: number, signatures: Record<string, string>): void {
  const root = structuredClone(roles.get('root')!);
  root.keys = { ...root.keys, ...keys };
  root.roles.timestamp = { keyids: Object.keys(keys), threshold };
  const timestamp = {
    signatures: Object.entries(signatures).map(([keyid, sig]) => ({ keyid, sig })),
    signed,
  };
  verifyDelegate(
    parseMetadata('root', signWith(root, []), 'root'),
    'timestamp',
    parseMetadata('timestamp', Buffer.from(JSON.stringify(timestamp)), 'timestamp'),
    refusal,
  );
}

const bytes = canonicalBytes(signed);
const one = newKey('one');
const two = newKey('two');
const by = (key: typeof one) => sign('sha256', bytes, key.private).toString('hex');

const refused = (work: () => void, found: string) =>
  assert.throws(work, { code: 'E_TUF_SIGNATURE', where: 'here', found });

test('as many different keys as the threshold wants', () => {
  const keys = { one: one.json, two: two.json };
  check(keys, 2, { one: by(one), two: by(two) });
  check(keys, 1, { two: by(two), one: '00', unknown: 'ff' });
  refused(() => check(keys, 2, { one: by(one) }), '1');
  refused(() => check(keys, 2, { one: by(one), two: by(one) }), '1');
  refused(() => check(keys, 2, { one: by(one), unlisted: by(two) }), '1');
  refused(() => check(keys, 1, { one: '', two: '00'.repeat(70) }), '0');
  refused(() => check(keys, 3, { one: by(one), two: by(two) }), '2');
});

test('one key under two key ids counts once, however it is spelt', () => {
  const { public: pem } = one.json.keyval as { public: string };
  const jwk = createPublicKey(pem).export({ format: 'jwk' });
  const [x, y] = [jwk.x!, jwk.y!].map(part => Buffer.from(part, 'base64url'));
  const compressed = Buffer.concat([Buffer.from([2 + (y!.at(-1)! & 1)]), x!]).toString('hex');
  const spellings: Signed[] = [
    one.json,
    { ...one.json, 'x-note': 'the same key' },
    { ...one.json, keytype: 'ecdsa-sha2-nistp256' },
    { ...one.json, keyval: { public: pem.replaceAll('\n', '\r\n') } },
    { ...one.json, keyval: { public: pem.trim() } },
    { ...one.json, keyval: { public: Buffer.concat([Buffer.from([4]), x!, y!]).toString('hex') } },
    {
      ...one.json,
      keyval: {
        public: Buffer.concat([Buffer.from([4]), x!, y!])
          .toString('hex')
          .toUpperCase(),
      },
    },
    { ...one.json, keyval: { public: compressed } },
  ];
  for (const spelling of spellings) {
    check({ again: spelling }, 1, { again: by(one) });
    refused(() => check({ one: one.json, again: spelling }, 2, { one: by(one), again: by(one) }), '1');
    check({ one: one.json, again: spelling, two: two.json }, 2, { again: by(one), two: by(two) });
  }
  const keys = Object.fromEntries(spellings.map((spelling, index) => [`key-${index}`, spelling]));
  const signatures = Object.fromEntries(Object.keys(keys).map(name => [name, by(one)]));
  refused(() => check(keys, 2, signatures), '1');
});

test('so do an ed25519 key and an RSA key, also under another hash', () => {
  const ed = generateKeyPairSync('ed25519');
  const hex = Buffer.from(ed.publicKey.export({ format: 'jwk' }).x!, 'base64url').toString('hex');
  const edKeys = [hex, hex.toUpperCase(), ed.publicKey.export({ type: 'spki', format: 'pem' })].map(
    value => ({
      keytype: 'ed25519',
      scheme: 'ed25519',
      keyval: { public: value },
    }),
  );
  const edSignature = sign(null, bytes, ed.privateKey).toString('hex');
  refused(() => check(Object.assign({}, edKeys), 2, { 0: edSignature, 1: edSignature, 2: edSignature }), '1');
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const keyval = { public: rsa.publicKey.export({ type: 'spki', format: 'pem' }) };
  const kinds = ['256', '384', '512'];
  const rsaKeys = kinds.map(kind => ({ keytype: 'rsa', scheme: `rsassa-pss-sha${kind}`, keyval }));
  const signatures = kinds.map(kind =>
    sign(`sha${kind}`, bytes, { key: rsa.privateKey, padding: 6, saltLength: Number(kind) / 8 }).toString(
      'hex',
    ),
  );
  check({ 0: rsaKeys[0] }, 1, { 0: signatures[0]! });
  refused(() => check(Object.assign({}, rsaKeys), 2, Object.fromEntries(signatures.entries())), '1');
});

test('a key that no library knows counts for nothing and stops nobody', () => {
  const strange = { keytype: 'sphinx', scheme: 'x', keyval: { public: 'none' } };
  const empty = { keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp256', keyval: {} };
  check({ strange, empty, one: one.json }, 1, { strange: 'ff', empty: 'ff', one: by(one) });
  refused(() => check({ strange, empty }, 1, { strange: 'ff', empty: 'ff' }), '0');
});

test('nobody delegates to a role that only JavaScript knows', () => {
  const root = parseMetadata('root', signWith(roles.get('root')!, []), 'root');
  const targets = parseMetadata('targets', signWith(roles.get('targets')!, []), 'targets');
  for (const name of ['constructor', '__proto__', 'toString', 'unheard-of']) {
    for (const delegator of [root, targets]) {
      assert.throws(() => verifyDelegate(delegator, name, targets, refusal), { code: 'E_TUF_SIGNATURE' });
    }
  }
});
