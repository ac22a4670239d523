import * as z from 'zod';
import { readTextBounded } from '../../lib/files.ts';
import { signingError } from '../errors.ts';
import { createFileAtomic } from '../new-file.ts';
import { PublicKeyParts, publicKeyOf } from './key-scheme.ts';
import { keyIdOf } from './signer.ts';

const MAX_KEY_FILE_BYTES = 32_768;
const MAX_SCRYPT_N = 2 ** 20;

const base64 = z
  .string()
  .regex(/^[A-Za-z0-9+/]+={0,2}$/)
  .max(16_384);
const powerOfTwo = z
  .int()
  .min(1024)
  .max(MAX_SCRYPT_N)
  .refine(n => Number.isInteger(Math.log2(n)), 'a power of two');

export const KeyName = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9-]{0,63}$/,
    'lower-case letters, digits and hyphens, at most 64, a letter or digit first',
  );

const identity = {
  schema: z.literal(1),
  name: KeyName,
  keyId: z.string().regex(/^[0-9a-f]{64}$/),
  public: PublicKeyParts,
  createdAt: z.string().max(40),
};

/** A private key on disk: public part in clear, private part under a passphrase. One file per key, mode 0600. */
export const EncryptedKeyFile = z.object({
  ...identity,
  kdf: z.object({
    name: z.literal('scrypt'),
    N: powerOfTwo,
    r: z.int().min(8).max(16),
    p: z.int().min(1).max(4),
    salt: base64,
  }),
  cipher: z.object({ name: z.literal('aes-256-gcm'), iv: base64, tag: base64, ciphertext: base64 }),
});
export type EncryptedKeyFile = z.output<typeof EncryptedKeyFile>;

/** How a command that signs is called. */
export const SignerCommand = z.object({
  command: z
    .array(
      z
        .string()
        .max(4096)
        .refine(word => !word.includes('\0'), 'no NUL'),
    )
    .min(1)
    .max(64)
    .refine(([program]) => /^(\/.+|[^/]+)$/.test(program!), 'an absolute path, or a name to find on PATH')
    .describe('Program and arguments; no shell is involved.'),
  encoding: z
    .enum(['raw', 'hex', 'base64'])
    .default('raw')
    .describe('How the signature comes on stdout; raw is DER for ECDSA.'),
  timeoutSeconds: z.int().min(1).max(3600).default(60),
  environment: z
    .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string().max(4096))
    .default({})
    .describe('Variables for the command beside PATH and HOME; no secrets: name files.'),
});
export type SignerCommand = z.output<typeof SignerCommand>;

/** A key whose private part is elsewhere, in a token or a key service; a command asks it to sign. */
export const ExternalKeyFile = z.object({ ...identity, signer: SignerCommand });
export type ExternalKeyFile = z.output<typeof ExternalKeyFile>;

/** What a person hands over of a key: `<name>.pub.json`. */
export const PublicKeyFile = z.object({
  schema: z.literal(1),
  name: KeyName,
  keyId: identity.keyId,
  public: PublicKeyParts,
});
export type PublicKeyFile = z.output<typeof PublicKeyFile>;

export type KeyFile = EncryptedKeyFile | ExternalKeyFile;

/** Reads a key file without unlocking it. @throws E_KEY_MISSING, E_KEY_UNREADABLE, E_KEY_SCHEME naming the file. */
export async function readKeyFile(path: string): Promise<KeyFile> {
  const value = await readJson(path);
  const isExternal = typeof value === 'object' && value !== null && 'signer' in value;
  return isExternal ? judge(ExternalKeyFile, value, path) : judge(EncryptedKeyFile, value, path);
}

/** Reads the public part of a key that is elsewhere. Errors as {@link readKeyFile}. */
export const readPublicKeyFile = async (path: string): Promise<PublicKeyFile> =>
  judge(PublicKeyFile, await readJson(path), path);

/**
 * Writes a key file, whole and never in place of another.
 *
 * @throws E_KEY_EXISTS when the path is taken, E_PERMISSION, E_DISK_FULL.
 */
export async function createKeyFile(path: string, file: KeyFile | PublicKeyFile): Promise<void> {
  const isPublic = !('kdf' in file || 'signer' in file);
  if (await createFileAtomic(path, JSON.stringify(file, null, 2) + '\n', isPublic ? 0o644 : 0o600)) return;
  throw signingError({
    code: 'E_KEY_EXISTS',
    message: `There is already a key file for "${file.name}".`,
    where: path,
    fix: 'Choose another name or another keys directory; a key file is never replaced.',
  });
}

function judge<T extends z.ZodType<PublicKeyFile>>(schema: T, value: unknown, path: string): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success && keyIdOf(parsed.data.public) === parsed.data.keyId) {
    publicKeyOf(parsed.data.public, path);
    return parsed.data;
  }
  const issue = parsed.success ? undefined : parsed.error.issues[0];
  throw signingError({
    code: 'E_KEY_UNREADABLE',
    message: issue
      ? `This is not a key file: ${issue.path.join('.') || 'content'}: ${issue.message}.`
      : 'The key file names a key id that is not the one of its public key.',
    where: path,
    expected: 'a key file made by "pilotage release key new", "key export" or "init"',
    fix: 'Restore the file from its backup.',
  });
}

async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readTextBounded(path, MAX_KEY_FILE_BYTES);
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
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
