import canonicalize from 'canonicalize';
import { createHash } from 'node:crypto';
import { wireError } from '../../lib/problem.ts';

export const sha256Hex = (data: string | Uint8Array): string =>
  createHash('sha256').update(data).digest('hex');

/** sha256 over the RFC 8785 form of a JSON value, in hexadecimal. @throws E_BAD_REQUEST where there is no such form. */
export function canonicalSha256(value: unknown): string {
  let text: string | undefined;
  try {
    text = canonicalize(value);
  } catch (error) {
    throw wireError('E_BAD_REQUEST', `The request has no canonical form: ${(error as Error).message}.`, {
      fix: 'Remove broken characters from its text.',
      cause: error,
    });
  }
  return sha256Hex(text ?? 'null');
}
