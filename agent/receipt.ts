import { createHash, sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import canonicalize from 'canonicalize';
import type { JobDefinition, Receipt } from '../lib/protocol/job.ts';
import { agentError } from './errors.ts';

/** The bytes that are signed: canonical JSON (RFC 8785) of everything but the signature. */
function signedBytes(receipt: Receipt): Buffer {
  const { signature: _, ...rest } = receipt;
  return Buffer.from(canonicalize(rest) ?? '', 'utf8');
}

/** Signs a receipt with the pilot's key: ECDSA P-256 with SHA-256, base64 of the DER form. */
export const signReceipt = (receipt: Receipt, key: KeyObject): Receipt => ({
  ...receipt,
  signature: sign('sha256', signedBytes(receipt), key).toString('base64'),
});

/**
 * Returns the receipt when it was signed with this key and nothing in it changed since.
 *
 * @throws E_RECEIPT_INVALID naming the attempt.
 */
export function verifyReceipt(receipt: Receipt, publicKey: KeyObject): Receipt {
  const signature = Buffer.from(receipt.signature ?? '', 'base64');
  if (verify('sha256', signedBytes(receipt), publicKey, signature)) return receipt;
  throw agentError({
    code: 'E_RECEIPT_INVALID',
    message: 'The receipt was changed, or was not signed with this key.',
    where: `attempt ${receipt.attemptId}`,
    fix: 'Get the receipt again from the server, and the certificate of the pilot that made it.',
  });
}

/** The name of a job definition: sha256 of its canonical JSON. */
export const definitionSha256 = (definition: JobDefinition): string =>
  createHash('sha256')
    .update(canonicalize(definition) ?? '', 'utf8')
    .digest('hex');
