import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  scrypt,
  sign,
  type KeyObject,
} from 'node:crypto';
import * as z from 'zod';
import { readTextBounded } from '../../lib/files.ts';
import { signingError } from '../errors.ts';
import { createFileAtomic } from '../new-file.ts';
import { canonicalBytes } from '../stable-json.ts';
import { keyIdOf, type KnownKey, type PublicKeyParts, type Signer } from './signer.ts';

/** Cost of unlocking a key: 2^16 takes 64 MiB and about 0.2 s. */
export const DEFAULT_SCRYPT_N = 65_536;
const MAX_SCRYPT_N = 2 ** 20;

const base64 = z
  .string()
  .regex(/^[A-Za-z0-9+/]+={0,2}$/)
  .max(4096);
const powerOfTwo = z
  .int()
  .min(1024)
  .max(MAX_SCRYPT_N)
  .refine(n => Number.isInteger(Math.log2(n)), 'a power of two');

/** A private key on disk: public part in clear, private part under a passphrase. One file per key, mode 0600. */
export const KeyFile = z.object({
  schema: z.literal(1),
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/),
  keyId: z.string().regex(/^[0-9a-f]{64}$/),
  public: z.object({
    keytype: z.literal('ecdsa'),
    scheme: z.literal('ecdsa-sha2-nistp256'),
    keyval: z.object({ public: z.string().max(1000) }),
  }),
  createdAt: z.string().max(40),
  kdf: z.object({
    name: z.literal('scrypt'),
    N: powerOfTwo,
    r: z.int().min(8).max(16),
    p: z.int().min(1).max(4),
    salt: base64,
  }),
  cipher: z.object({ name: z.literal('aes-256-gcm'), iv: base64, tag: base64, ciphertext: base64 }),
});
export type KeyFile = z.output<typeof KeyFile>;

/**
 * Makes an ECDSA P-256 key and writes it encrypted (scrypt, AES-256-GCM), mode 0600.
 *
 * @param options.scryptN cost, a power of two; recorded in the file.
 * @throws E_KEY_EXISTS when the path is taken, E_PASSPHRASE_MISSING when the passphrase is empty.
 */
export async function createKeyFile(options: {
  path: string;
  name: string;
  passphrase: string;
  nowMs: number;
  scryptN?: number;
}): Promise<KnownKey> {
  if (options.passphrase === '') {
    throw signingError({
      code: 'E_PASSPHRASE_MISSING',
      message: `The passphrase for the new key "${options.name}" is empty.`,
      where: options.path,
      fix: 'Give a passphrase with --passphrase-file, --passphrase-dir or at the prompt.',
    });
  }
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const parts: PublicKeyParts = {
    keytype: 'ecdsa',
    scheme: 'ecdsa-sha2-nistp256',
    keyval: { public: publicKey.export({ type: 'spki', format: 'pem' }) },
  };
  const keyId = keyIdOf(parts);
  const kdf = {
    name: 'scrypt' as const,
    N: options.scryptN ?? DEFAULT_SCRYPT_N,
    r: 8,
    p: 1,
    salt: randomBytes(16).toString('base64'),
  };
  const iv = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', await deriveKey(options.passphrase, kdf), iv);
  cipher.setAAD(boundBytes({ name: options.name, keyId, public: parts }));
  const plain = privateKey.export({ type: 'pkcs8', format: 'der' });
  const ciphertext = Buffer.concat([cipher.update(plain), cipher.final()]);
  plain.fill(0);
  const file: KeyFile = {
    schema: 1,
    name: options.name,
    keyId,
    public: parts,
    createdAt: new Date(options.nowMs).toISOString(),
    kdf,
    cipher: {
      name: 'aes-256-gcm',
      iv: iv.toString('base64'),
      tag: cipher.getAuthTag().toString('base64'),
      ciphertext: ciphertext.toString('base64'),
    },
  };
  if (!(await createFileAtomic(options.path, JSON.stringify(file, null, 2) + '\n', 0o600))) {
    throw signingError({
      code: 'E_KEY_EXISTS',
      message: `There is already a key named "${options.name}".`,
      where: options.path,
      fix: 'Choose another name or another keys directory; a key file is never replaced.',
    });
  }
  return { name: options.name, keyId, public: parts, where: options.path };
}

/**
 * Reads a key file without unlocking it.
 *
 * @throws E_KEY_MISSING, E_KEY_UNREADABLE naming the file.
 */
export async function readKeyFile(path: string): Promise<KeyFile> {
  let text: string;
  try {
    text = await readTextBounded(path, 16_384);
  } catch (error) {
    const missing = (error as { code?: string }).code === 'E_FILE_MISSING';
    throw signingError({
      code: missing ? 'E_KEY_MISSING' : 'E_KEY_UNREADABLE',
      message: missing
        ? 'There is no such key file.'
        : `The key file cannot be read: ${(error as Error).message}`,
      where: path,
      fix: missing
        ? 'Name the directory that holds the key with --keys, or ask the person who holds it.'
        : 'Check the owner and mode of the file.',
      cause: error,
    });
  }
  const parsed = KeyFile.safeParse(parseJson(text));
  if (!parsed.success || keyIdOf(parsed.data.public) !== parsed.data.keyId) {
    throw signingError({
      code: 'E_KEY_UNREADABLE',
      message: parsed.success
        ? 'The key file names a key id that is not the one of its public key.'
        : `This is not a key file: ${parsed.error.issues[0]!.path.join('.') || 'content'}: ${parsed.error.issues[0]!.message}.`,
      where: path,
      expected: 'a key file made by "pilotage release init"',
      fix: 'Restore the file from its backup.',
    });
  }
  return parsed.data;
}

/**
 * Unlocks a key file.
 *
 * @throws E_PASSPHRASE_WRONG naming the file; also when the file was altered, since both fail the same check.
 */
export async function unlockKeyFile(file: KeyFile, passphrase: string, path: string): Promise<Signer> {
  const key = await decryptKey(file, passphrase, path);
  return {
    name: file.name,
    keyId: file.keyId,
    public: file.public,
    sign: async bytes => sign('sha256', bytes, key),
  };
}

async function decryptKey(file: KeyFile, passphrase: string, path: string): Promise<KeyObject> {
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
    const ownPublic = createPublicKey(key).export({ type: 'spki', format: 'pem' });
    if (ownPublic !== file.public.keyval.public) throw new Error('public part differs');
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

function deriveKey(passphrase: string, kdf: KeyFile['kdf']): Promise<Buffer> {
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

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
