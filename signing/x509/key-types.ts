import type { KeyObject } from 'node:crypto';
import { readBitString, readSequence } from './der.ts';

/**
 * Why a public key is not on the whitelist (RSA 2048 to 8192 bits with an ordinary exponent, EC P-256 and P-384 as an
 * uncompressed point, Ed25519), or undefined. One key has one encoding here, so that its hash names it.
 */
export function keyProblem(key: KeyObject, spki: Buffer): string | undefined {
  if (!key.export({ type: 'spki', format: 'der' }).equals(spki))
    return 'The key is encoded in an unusual way.';
  const details = key.asymmetricKeyDetails;
  if (key.asymmetricKeyType === 'ed25519') return undefined;
  if (key.asymmetricKeyType === 'rsa') {
    const bits = details?.modulusLength ?? 0;
    if (bits < 2048 || bits > 8192) return `The RSA key has ${bits} bits.`;
    const exponent = details?.publicExponent ?? 0n;
    return exponent < 3n || exponent > 0xffff_ffff_ffffn || exponent % 2n === 0n
      ? 'The RSA key has an unusual exponent.'
      : undefined;
  }
  if (key.asymmetricKeyType !== 'ec') return `The key type is ${key.asymmetricKeyType ?? 'unknown'}.`;
  if (details?.namedCurve !== 'prime256v1' && details?.namedCurve !== 'secp384r1') {
    return `The EC curve is ${details?.namedCurve ?? 'not a named one'}.`;
  }
  return readBitString(readSequence(spki)[1]).bytes[0] === 4 ? undefined : 'The EC point is compressed.';
}
