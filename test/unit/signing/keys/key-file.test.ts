import assert from 'node:assert/strict';
import { createHash, verify } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Metadata, Signature, Timestamp } from '@tufjs/models';
import { systemClock } from '../../../../lib/clock.ts';
import { openKeyDirectory } from '../../../../signing/keys/key-directory.ts';
import {
  changePassphrase,
  createEncryptedKey,
  DEFAULT_SCRYPT_N,
  unlockEncryptedKey,
} from '../../../../signing/keys/encrypted-key.ts';
import { readKeyFile, type EncryptedKeyFile } from '../../../../signing/keys/key-file.ts';
import { isSignature, keySchemes } from '../../../../signing/keys/key-scheme.ts';
import { modelKey } from '../../../../signing/keys/signer.ts';
import { canonicalBytes } from '../../../../signing/stable-json.ts';

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pilotage-keys-'));
});
after(() => rm(directory, { recursive: true, force: true }));

const readEncrypted = async (path: string) => (await readKeyFile(path)) as EncryptedKeyFile;
const make = (name: string, passphrase = 'right', scryptN: number | undefined = 1024) =>
  createEncryptedKey({ path: join(directory, `${name}.key.json`), name, passphrase, nowMs: 0, scryptN });

test('a key file is 0600, holds no private key in clear, and signs when unlocked', async () => {
  const key = await make('one');
  assert.equal((await stat(key.where)).mode & 0o777, 0o600);
  const file = await readEncrypted(key.where);
  const signer = await unlockEncryptedKey(file, 'right', key.where);
  const signature = await signer.sign(Buffer.from('bytes'));
  assert.ok(verify('sha256', Buffer.from('bytes'), key.public.keyval.public, signature));
  assert.ok(!verify('sha256', Buffer.from('other'), key.public.keyval.public, signature));
  const plain = Buffer.from(file.cipher.ciphertext, 'base64');
  assert.ok(!plain.includes(Buffer.from('2a8648ce3d0201', 'hex')), 'no PKCS#8 structure in the file');
});

test('every scheme signs in the form that TUF readers verify, and its file opens again', async () => {
  const bytes = Buffer.from('bytes');
  const kinds = { 'ecdsa-sha2-nistp256': 'ecdsa', ed25519: 'ed25519', 'rsassa-pss-sha256': 'rsa' } as const;
  for (const scheme of keySchemes) {
    const path = join(directory, `${scheme}.key.json`);
    const options = { path, name: scheme, passphrase: 'p', nowMs: 0, scryptN: 1024, scheme };
    const key = await createEncryptedKey(options);
    assert.deepEqual([key.public.keytype, key.public.scheme], [kinds[scheme], scheme]);
    const signer = await unlockEncryptedKey(await readEncrypted(path), 'p', path);
    const sig = (await signer.sign(bytes)).toString('hex');
    const signed = new Timestamp({ version: 1, specVersion: '1.0.31', expires: '2030-01-01T00:00:00Z' });
    const own = (await signer.sign(canonicalBytes(signed.toJSON()))).toString('hex');
    const metadata = new Metadata(signed, { [key.keyId]: new Signature({ keyID: key.keyId, sig: own }) });
    modelKey(key).verifySignature(metadata);
    assert.ok(isSignature(key.public, bytes, Buffer.from(sig, 'hex')));
    assert.ok(!isSignature(key.public, Buffer.from('other'), Buffer.from(sig, 'hex')));
    assert.ok(!isSignature(key.public, bytes, Buffer.from('nonsense')));
  }
});

test('another passphrase opens the same key, and the old one no longer does', async () => {
  const key = await make('moved');
  await changePassphrase(key.where, await readEncrypted(key.where), { old: 'right', new: 'better' });
  const file = await readEncrypted(key.where);
  assert.equal((await stat(key.where)).mode & 0o777, 0o600);
  assert.equal((await unlockEncryptedKey(file, 'better', key.where)).keyId, key.keyId);
  await assert.rejects(unlockEncryptedKey(file, 'right', key.where), { code: 'E_PASSPHRASE_WRONG' });
  const passphrases = { old: 'wrong', new: 'x' };
  await assert.rejects(changePassphrase(key.where, file, passphrases), { code: 'E_PASSPHRASE_WRONG' });
  await assert.rejects(changePassphrase(key.where, file, { old: 'better', new: '' }), {
    code: 'E_PASSPHRASE_MISSING',
  });
});

test('the key id is the sha256 of the canonical JSON of the public key', async () => {
  const key = await make('two');
  assert.equal(key.keyId, createHash('sha256').update(canonicalBytes(key.public)).digest('hex'));
});

test('the default cost is at least 2^15 and recorded in the file', async () => {
  assert.ok(DEFAULT_SCRYPT_N >= 32_768);
  const strong = await createEncryptedKey({
    path: join(directory, 'strong.key.json'),
    name: 'strong',
    passphrase: 'p',
    nowMs: 0,
  });
  assert.equal((await readEncrypted(strong.where)).kdf.N, DEFAULT_SCRYPT_N);
  assert.equal((await readEncrypted((await make('cheap')).where)).kdf.N, 1024);
});

test('a wrong passphrase is refused naming the key and its file', async () => {
  const key = await make('three');
  await assert.rejects(unlockEncryptedKey(await readEncrypted(key.where), 'wrong', key.where), {
    code: 'E_PASSPHRASE_WRONG',
    where: key.where,
    message: /"three"/,
  });
});

test('another name or another public key beside the encrypted part is refused', async () => {
  const [a, b] = [await make('four'), await make('five')];
  const file = await readEncrypted(a.where);
  await assert.rejects(unlockEncryptedKey({ ...file, name: 'root-1' }, 'right', a.where), {
    code: 'E_PASSPHRASE_WRONG',
  });
  await assert.rejects(unlockEncryptedKey({ ...file, public: b.public, keyId: b.keyId }, 'right', a.where), {
    code: 'E_PASSPHRASE_WRONG',
  });
  await writeFile(a.where, JSON.stringify({ ...file, public: b.public }));
  await assert.rejects(readKeyFile(a.where), { code: 'E_KEY_UNREADABLE' });
});

test('a key file is never replaced, and an empty passphrase makes none', async () => {
  const key = await make('six');
  const before = await readFile(key.where);
  await assert.rejects(make('six'), { code: 'E_KEY_EXISTS', where: key.where });
  assert.ok((await readFile(key.where)).equals(before));
  await assert.rejects(make('seven', ''), { code: 'E_PASSPHRASE_MISSING' });
  await assert.rejects(readKeyFile(join(directory, 'seven.key.json')), { code: 'E_KEY_MISSING' });
});

test('what is not a key file is refused with the reason', async () => {
  const path = join(directory, 'bad.key.json');
  await writeFile(path, '{"schema":1}');
  await assert.rejects(readKeyFile(path), { code: 'E_KEY_UNREADABLE', where: path });
  await writeFile(path, 'not json');
  await assert.rejects(readKeyFile(path), { code: 'E_KEY_UNREADABLE' });
  const good = JSON.parse(await readFile((await make('eight')).where, 'utf8')) as { kdf: object };
  await writeFile(path, JSON.stringify({ ...good, kdf: { ...good.kdf, N: 2 ** 30 } }));
  await assert.rejects(readKeyFile(path), { code: 'E_KEY_UNREADABLE', message: /kdf\.N/ });
});

test('a directory unlocks each key once, lists without unlocking, and refuses a renamed file', async () => {
  const own = join(directory, 'ring');
  let asked = 0;
  const ring = openKeyDirectory({
    directory: own,
    clock: systemClock,
    scryptN: 1024,
    passphrases: async () => {
      asked += 1;
      return 'p';
    },
  });
  await assert.rejects(ring.list(), { code: 'E_KEY_MISSING', where: own });
  await ring.create('b');
  await ring.create('a');
  assert.equal((await stat(own)).mode & 0o777, 0o700);
  asked = 0;
  assert.deepEqual(
    (await ring.list()).map(key => key.name),
    ['a', 'b'],
  );
  assert.equal(asked, 0);
  await Promise.all([ring.signer('a'), ring.signer('a')]);
  await ring.signer('a');
  assert.equal(asked, 1);
  await assert.rejects(ring.signer('c'), { code: 'E_KEY_MISSING', where: join(own, 'c.key.json') });
  await writeFile(join(own, 'c.key.json'), await readFile(join(own, 'a.key.json')));
  await chmod(join(own, 'c.key.json'), 0o600);
  await assert.rejects(ring.signer('c'), { code: 'E_KEY_UNREADABLE', expected: 'c', found: 'a' });
});

test('a directory lists public parts as keys that cannot sign here, and refuses two keys of one name', async () => {
  const own = join(directory, 'public');
  const passphrases = async () => 'p';
  const ring = openKeyDirectory({ directory: own, clock: systemClock, scryptN: 1024, passphrases });
  const mine = await ring.create('mine');
  const theirs = await make('theirs');
  const handOver = ({ name, keyId, public: parts }: typeof mine, file = name) =>
    writeFile(join(own, `${file}.pub.json`), JSON.stringify({ schema: 1, name, keyId, public: parts }));
  await handOver(mine);
  await handOver(theirs);
  assert.deepEqual(
    (await ring.list()).map(({ name, canSign }) => [name, canSign]),
    [
      ['mine', true],
      ['theirs', false],
    ],
  );
  const where = join(own, 'theirs.pub.json');
  await assert.rejects(ring.signer('theirs'), { code: 'E_KEY_MISSING', where, message: /public part/ });
  await handOver({ ...theirs, name: 'mine' });
  await assert.rejects(ring.list(), { code: 'E_KEY_UNREADABLE', message: /Two different keys/ });
  await handOver(mine);
  await handOver(theirs, 'other');
  await assert.rejects(ring.list(), { code: 'E_KEY_UNREADABLE', expected: 'other', found: 'theirs' });
});
