import { createPublicKey } from 'node:crypto';
import { PilotageError } from '../../lib/errors.ts';
import { wireError } from '../../lib/problem.ts';
import { issueCertificate, newKey } from '../../signing/x509/authority.ts';
import type { Authority } from '../../signing/x509/authority.ts';
import { readCsr } from '../../signing/x509/csr.ts';
import type { NameParts } from '../../signing/x509/names.ts';
import type { CredentialIssuer } from './credential-issuer.ts';

/**
 * Issues one certificate to a key that is thrown away: what issuing needs is loaded before the first pilot waits for it,
 * and an authority that can issue nothing is known at the start.
 *
 * @throws E_AUTHORITY_EXPIRED, E_AUTHORITY_INVALID.
 */
export async function tryAuthority(authority: Authority, instance: string): Promise<void> {
  await issueCertificate({
    authority,
    publicKey: createPublicKey(newKey()),
    subject: subjectOf(instance, 'nobody'),
    validSeconds: 1,
    usage: 'client',
  });
}

const subjectOf = (instance: string, commonName: string): NameParts => [
  ['O', 'Pilotage'],
  ['OU', instance],
  ['CN', commonName],
];

/** Issues the credentials of pilots and payloads from this instance's pilot authority. */
export function createCertificateIssuer(authority: Authority, instance: string): CredentialIssuer {
  return {
    read: async csr => {
      try {
        return { keySha256: readCsr(csr).keyHash };
      } catch (error) {
        if (!(error instanceof PilotageError)) throw error;
        throw wireError('E_BAD_REQUEST', error.message, {
          where: 'body.csr',
          ...(error.expected !== undefined && { expected: error.expected }),
          ...(error.found !== undefined && { found: error.found }),
          fix: 'Send one PKCS#10 request in PEM, signed by its own key.',
          cause: error,
        });
      }
    },
    issue: async ({ csr, commonName, validSeconds }) => {
      const issued = await issueCertificate({
        authority,
        csrPem: csr,
        subject: subjectOf(instance, commonName),
        validSeconds,
        usage: 'client',
      });
      const leftSeconds = Math.ceil((issued.notAfterMs - Date.now()) / 1000);
      return { chain: issued.chainPem, validSeconds: Math.min(validSeconds, Math.max(0, leftSeconds)) };
    },
  };
}
