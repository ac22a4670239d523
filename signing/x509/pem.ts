import { signingError } from '../errors.ts';

const block = /-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----/g;

/**
 * The DER of every CERTIFICATE block, in order; text and other blocks (keys) between them are passed over.
 *
 * @throws E_CERTIFICATE_UNREADABLE naming the file, when there is none.
 */
export function splitPem(pem: string, file: string): Buffer[] {
  const found = [...pem.matchAll(block)].map(match => Buffer.from(match[1]!, 'base64'));
  if (found.length === 0) {
    throw signingError({
      code: 'E_CERTIFICATE_UNREADABLE',
      message: 'There is no certificate in this file.',
      where: file,
      expected: 'PEM text with -----BEGIN CERTIFICATE-----',
      found: pem.trim() === '' ? 'an empty file' : 'no such block',
      fix: 'Name the file with the certificate (or the proxy with its chain).',
    });
  }
  return found;
}

/** PEM of one DER encoding; `label` for example CERTIFICATE. */
export const toPem = (der: Uint8Array, label = 'CERTIFICATE'): string =>
  `-----BEGIN ${label}-----\n${Buffer.from(der)
    .toString('base64')
    .replace(/(.{64})(?!$)/g, '$1\n')}\n-----END ${label}-----\n`;
