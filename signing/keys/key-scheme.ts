import {
  constants,
  createPublicKey,
  generateKeyPair,
  sign,
  verify,
  type KeyObject,
  type VerifyKeyObjectInput,
} from 'node:crypto';
import { promisify } from 'node:util';
import * as z from 'zod';
import { signingError } from '../errors.ts';

const generate = promisify(generateKeyPair);

/** Signature schemes of release keys. Bare nodes count the first only: `openssl dgst` of every age verifies it. */
export const keySchemes = ['ecdsa-sha2-nistp256', 'ed25519', 'rsassa-pss-sha256'] as const;
export type KeyScheme = (typeof keySchemes)[number];

/** Scheme whose signatures the POSIX shell bootstrap can check. */
export const BARE_NODE_SCHEME = 'ecdsa-sha2-nistp256' satisfies KeyScheme;

const RSA_BITS = 3072;
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 8192;
const PSS_SALT_BYTES = 32;

const pem = z.object({ public: z.string().max(2000) });

/** Public part of a key as signed metadata carries it: PEM (SPKI), for ed25519 hex (TUF 1.0.31 section 4.2). */
export const PublicKeyParts = z.discriminatedUnion('keytype', [
  z.object({ keytype: z.literal('ecdsa'), scheme: z.literal('ecdsa-sha2-nistp256'), keyval: pem }),
  z.object({
    keytype: z.literal('ed25519'),
    scheme: z.literal('ed25519'),
    keyval: z.object({ public: z.string().regex(/^[0-9a-f]{64}$/) }),
  }),
  z.object({ keytype: z.literal('rsa'), scheme: z.literal('rsassa-pss-sha256'), keyval: pem }),
]);
export type PublicKeyParts = z.output<typeof PublicKeyParts>;

/** Makes a key pair; RSA has 3072 bits. */
export function generateKey(scheme: KeyScheme): Promise<{ publicKey: KeyObject; privateKey: KeyObject }> {
  if (scheme === 'ed25519') return generate('ed25519');
  if (scheme === 'rsassa-pss-sha256') return generate('rsa', { modulusLength: RSA_BITS });
  return generate('ec', { namedCurve: 'prime256v1' });
}

/**
 * The one public form of a key, whatever form it was given in: the key id depends on it.
 *
 * @throws E_KEY_SCHEME for other curves, other algorithms, and RSA keys of fewer than 2048 bits.
 */
export function publicParts(key: KeyObject, where: string): PublicKeyParts {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ec' && namedCurve === 'prime256v1') {
    // Through JWK, so that a compressed point becomes the same key as the uncompressed one.
    const uncompressed = createPublicKey({ key: key.export({ format: 'jwk' }), format: 'jwk' });
    return { keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp256', keyval: { public: spkiPem(uncompressed) } };
  }
  if (key.asymmetricKeyType === 'ed25519') {
    const { x } = key.export({ format: 'jwk' });
    const hex = Buffer.from(x!, 'base64url').toString('hex');
    return { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: hex } };
  }
  if (key.asymmetricKeyType === 'rsa' && modulusLength! >= MIN_RSA_BITS && modulusLength! <= MAX_RSA_BITS) {
    return { keytype: 'rsa', scheme: 'rsassa-pss-sha256', keyval: { public: spkiPem(key) } };
  }
  throw signingError({
    code: 'E_KEY_SCHEME',
    message: 'Release keys of this kind are not accepted.',
    where,
    expected: `EC P-256, Ed25519, or RSA of ${MIN_RSA_BITS} to ${MAX_RSA_BITS} bits`,
    found: [key.asymmetricKeyType, namedCurve, modulusLength && `${modulusLength} bits`]
      .filter(part => part !== undefined)
      .join(' '),
    fix: 'Make a key of one of these kinds; EC P-256 is what bare nodes can verify.',
  });
}

/** The key that public parts describe. @throws E_KEY_SCHEME, E_KEY_UNREADABLE when it is no key, or not in its one form. */
export function publicKeyOf(parts: PublicKeyParts, where: string): KeyObject {
  try {
    const key =
      parts.keytype === 'ed25519'
        ? createPublicKey({
            key: {
              kty: 'OKP',
              crv: 'Ed25519',
              x: Buffer.from(parts.keyval.public, 'hex').toString('base64url'),
            },
            format: 'jwk',
          })
        : createPublicKey(parts.keyval.public);
    const own = publicParts(key, where);
    if (own.scheme === parts.scheme && own.keyval.public === parts.keyval.public) return key;
  } catch (error) {
    if ((error as { code?: string }).code === 'E_KEY_SCHEME') throw error;
  }
  throw signingError({
    code: 'E_KEY_UNREADABLE',
    message: `The public key is not ${parts.scheme === 'ed25519' ? 'an ed25519 key' : `a PEM key of ${parts.scheme}`}.`,
    where,
    fix: 'Restore the file from its backup, or ask its owner for the public part again.',
  });
}

/** A signature as TUF wants it: ECDSA in DER, ed25519 raw, RSA-PSS with a salt as long as the hash. */
export function signBytes(scheme: KeyScheme, bytes: Uint8Array, key: KeyObject): Buffer {
  if (scheme === 'ed25519') return sign(null, bytes, key);
  return sign('sha256', bytes, scheme === 'ecdsa-sha2-nistp256' ? key : withPss(key));
}

/** Whether a signature over the bytes is that of the key; what is no signature at all is not. */
export function isSignature(parts: PublicKeyParts, bytes: Uint8Array, signature: Uint8Array): boolean {
  const key = publicKeyOf(parts, 'public key');
  if (parts.scheme === 'ed25519') return verify(null, bytes, key, signature);
  return verify('sha256', bytes, parts.scheme === 'ecdsa-sha2-nistp256' ? key : withPss(key), signature);
}

const withPss = (key: KeyObject): VerifyKeyObjectInput => ({
  key,
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: PSS_SALT_BYTES,
});

const spkiPem = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' });
