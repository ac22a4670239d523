import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  randomBytes,
  scrypt,
  type KeyObject,
} from 'node:crypto';
import { writeFileAtomic } from '../../lib/files.ts';
import { signingError } from '../errors.ts';
import { canonicalBytes } from '../stable-json.ts';
import { createKeyFile, type EncryptedKeyFile } from './key-file.ts';
import { generateKey, publicParts, signBytes, type KeyScheme, type PublicKeyParts } from './key-scheme.ts';
import { keyIdOf, type KnownKey, type Signer } from './signer.ts';

/** Cost of unlocking a key: 2^16 takes 64 MiB and about 0.2 s. */
export const DEFAULT_SCRYPT_N = 65_536;

/**
 * Makes a key and writes it encrypted (scrypt, AES-256-GCM), mode 0600.
 *
 * @param options.scheme default `ecdsa-sha2-nistp256`.
 * @param options.scryptN cost, a power of two; recorded in the file.
 * @throws E_KEY_EXISTS when the path is taken, E_PASSPHRASE_MISSING when the passphrase is empty.
 */
export async function createEncryptedKey(options: {
  path: string;
  name: string;
  passphrase: string;
  nowMs: number;
  scheme?: KeyScheme | undefined;
  scryptN?: number | undefined;
}): Promise<KnownKey> {
  const { path, name } = options;
  refuseEmpty(options.passphrase, name, path);
  const { privateKey, publicKey } = await generateKey(options.scheme ?? 'ecdsa-sha2-nistp256');
  const parts = publicParts(publicKey, path);
  const identity = { name, keyId: keyIdOf(parts), public: parts };
  await createKeyFile(path, {
    schema: 1,
    ...identity,
    createdAt: new Date(options.nowMs).toISOString(),
    ...(await encrypt(privateKey, identity, options.passphrase, options.scryptN ?? DEFAULT_SCRYPT_N)),
  });
  return { ...identity, where: path, canSign: true };
}

/**
 * Unlocks a key file.
 *
 * @throws E_PASSPHRASE_WRONG naming the file; also when the file was altered, since both fail the same check.
 */
export async function unlockEncryptedKey(
  file: EncryptedKeyFile,
  passphrase: string,
  path: string,
): Promise<Signer> {
  const key = await decrypt(file, passphrase, path);
  return {
    name: file.name,
    keyId: file.keyId,
    public: file.public,
    sign: async bytes => signBytes(file.public.scheme, bytes, key),
  };
}

/**
 * Puts a key under another passphrase; the key and its id stay.
 *
 * @throws E_PASSPHRASE_WRONG, E_PASSPHRASE_MISSING when the new one is empty.
 */
export async function changePassphrase(
  path: string,
  file: EncryptedKeyFile,
  passphrases: { old: string; new: string },
): Promise<void> {
  const key = await decrypt(file, passphrases.old, path);
  refuseEmpty(passphrases.new, file.name, path);
  const changed: EncryptedKeyFile = { ...file, ...(await encrypt(key, file, passphrases.new, file.kdf.N)) };
  await writeFileAtomic(path, JSON.stringify(changed, null, 2) + '\n', { mode: 0o600 });
}

async function encrypt(
  key: KeyObject,
  identity: { name: string; keyId: string; public: PublicKeyParts },
  passphrase: string,
  scryptN: number,
): Promise<Pick<EncryptedKeyFile, 'kdf' | 'cipher'>> {
  const salt = randomBytes(16).toString('base64');
  const kdf = { name: 'scrypt' as const, N: scryptN, r: 8, p: 1, salt };
  const iv = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', await deriveKey(passphrase, kdf), iv);
  cipher.setAAD(boundBytes(identity));
  const plain = key.export({ type: 'pkcs8', format: 'der' });
  const ciphertext = Buffer.concat([cipher.update(plain), cipher.final()]);
  plain.fill(0);
  return {
    kdf,
    cipher: {
      name: 'aes-256-gcm',
      iv: iv.toString('base64'),
      tag: cipher.getAuthTag().toString('base64'),
      ciphertext: ciphertext.toString('base64'),
    },
  };
}

async function decrypt(file: EncryptedKeyFile, passphrase: string, path: string): Promise<KeyObject> {
  try {
    const decipher = createDecipheriv(
      'aes-256-gcm',
      await deriveKey(passphrase, file.kdf),
      Buffer.from(file.cipher.iv, 'base64'),
      { authTagLength: 16 },
    );
    decipher.setAAD(boundBytes(file));
    decipher.setAuthTag(Buffer.from(file.cipher.tag, 'base64'));
    const plain = Buffer.concat([
      decipher.update(Buffer.from(file.cipher.ciphertext, 'base64')),
      decipher.final(),
    ]);
    const key = createPrivateKey({ key: plain, format: 'der', type: 'pkcs8' });
    plain.fill(0);
    if (keyIdOf(publicParts(createPublicKey(key), path)) !== file.keyId) {
      throw new Error('the public part is that of another key');
    }
    return key;
  } catch (error) {
    throw signingError({
      code: 'E_PASSPHRASE_WRONG',
      message: `The passphrase does not open the key "${file.name}".`,
      where: path,
      fix: 'Give the passphrase of this key; if it is right, the file was altered: restore it from its backup.',
      cause: error,
    });
  }
}

/** The part in clear is bound to the encrypted part, so that nobody can put another name or key beside it. */
const boundBytes = (file: { name: string; keyId: string; public: PublicKeyParts }): Buffer =>
  canonicalBytes({ name: file.name, keyId: file.keyId, public: file.public });

function deriveKey(passphrase: string, kdf: EncryptedKeyFile['kdf']): Promise<Buffer> {
  const maxmem = 256 * kdf.N * kdf.r * kdf.p;
  return new Promise((resolve, reject) => {
    scrypt(
      passphrase.normalize('NFC'),
      Buffer.from(kdf.salt, 'base64'),
      32,
      { N: kdf.N, r: kdf.r, p: kdf.p, maxmem },
      (error, key) => (error ? reject(error) : resolve(key)),
    );
  });
}

function refuseEmpty(passphrase: string, name: string, where: string): void {
  if (passphrase !== '') return;
  throw signingError({
    code: 'E_PASSPHRASE_MISSING',
    message: `The new passphrase of the key "${name}" is empty.`,
    where,
    fix: 'Give a passphrase with --passphrase-file, --passphrase-dir or at the prompt.',
  });
}
