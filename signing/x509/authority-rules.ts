import type { Certificate } from './certificate.ts';
import { extendedUsages, extensionOids as oids, keyUsageBits } from './extensions.ts';
import { checkNameConstraints } from './name-constraints.ts';
import { refusal } from './rules.ts';

/** What a certificate is used for in this connection. */
export type CertificateUsage = 'client' | 'server';

/** OIDs of SHA-256, SHA-384 and SHA-512 with RSA (PKCS#1) and ECDSA, and Ed25519. */
const signatureAlgorithms = new Set([
  '1.2.840.113549.1.1.11',
  '1.2.840.113549.1.1.12',
  '1.2.840.113549.1.1.13',
  '1.2.840.10045.4.3.2',
  '1.2.840.10045.4.3.3',
  '1.2.840.10045.4.3.4',
  '1.3.101.112',
]);

const understood = new Set<string>([
  oids.basicConstraints,
  oids.keyUsage,
  oids.extendedKeyUsage,
  oids.subjectAltName,
  oids.certificatePolicies,
]);

/** Version, serial number, signature hash and validity of any certificate on a path. @throws E_CHAIN_INVALID, E_CHAIN_EXPIRED. */
export function checkLink(certificate: Certificate, nowMs: number, isAnchor = false): void {
  const { where, version, serial, signatureAlgorithm } = certificate;
  if (version !== 3) {
    throw refusal('version-3', {
      message: 'A certificate of the path is of an old version.',
      where,
      found: `version ${version}`,
      fix: 'Have it issued again by a current authority.',
    });
  }
  if (!isAnchor && (serial.startsWith('-') || serial === '0')) {
    throw refusal('serial-number', {
      message: 'A certificate has no proper serial number.',
      where,
      found: serial,
      fix: 'Have it issued again.',
    });
  }
  if (!isAnchor && !signatureAlgorithms.has(signatureAlgorithm)) {
    throw refusal('signature-hash', {
      message: 'A certificate is signed with an algorithm that is not accepted.',
      where,
      found: signatureAlgorithm,
      fix: 'Have it issued again with SHA-256; for a proxy, make a new one with a current tool.',
    });
  }
  checkValidity(certificate, nowMs);
}

function checkValidity({ where, notBeforeMs, notAfterMs }: Certificate, nowMs: number): void {
  const early = nowMs < notBeforeMs;
  if (!early && nowMs <= notAfterMs) return;
  throw refusal('validity', {
    message: early ? 'A certificate is not valid yet.' : 'A certificate has expired.',
    where,
    expected: `now between ${instant(notBeforeMs)} and ${instant(notAfterMs)}`,
    found: instant(nowMs),
    fix: early
      ? 'Check the clock of this machine and of the one that issued it.'
      : 'Get a new certificate or make a new proxy.',
  });
}

const instant = (ms: number): string =>
  Number.isFinite(ms) && Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : String(ms);

/** Refuses critical extensions outside `known` (RFC 5280 4.2). @throws E_CHAIN_INVALID. */
export function checkCritical(certificate: Certificate, ...known: string[]): void {
  for (const [oid, { critical }] of certificate.extensions) {
    if (critical && !understood.has(oid) && !known.includes(oid)) {
      throw refusal('critical-extension', {
        message: 'A certificate has a critical extension that is not understood here.',
        where: certificate.where,
        found: oid,
        fix: 'Have it issued without this extension.',
      });
    }
  }
}

/**
 * One authority and everything below it: CA:TRUE, keyCertSign, path length, critical extensions, name constraints.
 *
 * @param below the authorities under it, nearest first; @param endEntity the certificate these lead to.
 * @throws E_CHAIN_INVALID.
 */
export function checkAuthority(
  authority: Certificate,
  below: readonly Certificate[],
  endEntity: Certificate,
  { isAnchor, usage }: { isAnchor: boolean; usage: CertificateUsage },
): void {
  const { where, basicConstraints, keyUsage } = authority;
  if (basicConstraints?.ca !== true) {
    throw refusal('authority-constraints', {
      message: 'A certificate was issued by one that is not an authority.',
      where,
      found: basicConstraints ? 'CA:FALSE' : 'no basicConstraints',
      fix: 'Get the certificate from an authority.',
    });
  }
  // Old roots may lack keyUsage; whatever stands below an anchor must state it (RFC 5280 4.2.1.3).
  if (keyUsage ? !keyUsage.has(keyUsageBits.keyCertSign) : !isAnchor) {
    throw refusal('authority-key-usage', {
      message: 'An authority of the path is not allowed to sign certificates.',
      where,
      found: keyUsage ? 'keyUsage without keyCertSign' : 'no keyUsage',
      fix: 'Have the authority certificate issued again with keyCertSign.',
    });
  }
  const counted = below.filter(({ subject, issuer }) => !subject.equals(issuer)).length;
  if (basicConstraints.pathLength !== undefined && counted > basicConstraints.pathLength) {
    throw refusal('authority-path-length', {
      message: 'There are more authorities below this one than it allows.',
      where,
      expected: `at most ${basicConstraints.pathLength}`,
      found: `${counted}`,
      fix: 'Get the certificate from an authority nearer to the root.',
    });
  }
  checkCritical(authority, oids.nameConstraints);
  if (!isAnchor) checkPurpose(authority, usage);
  for (const certificate of below) {
    if (!certificate.subject.equals(certificate.issuer)) checkNameConstraints(authority, certificate);
  }
  checkNameConstraints(authority, endEntity);
}

/** The end entity: it has a name, may sign, is made for `usage`, nothing critical unknown. @throws E_CHAIN_INVALID. */
export function checkEndEntity(certificate: Certificate, usage: CertificateUsage): void {
  if (certificate.subjectDn === '') {
    throw refusal('end-entity', {
      message: 'A certificate has no subject, so it says of nobody who he is.',
      where: certificate.where,
      expected: 'a distinguished name',
      found: 'an empty subject',
      fix: 'Have it issued with a subject.',
    });
  }
  checkCritical(certificate);
  checkUsages(certificate, usage);
}

/** digitalSignature and the purpose, where stated: checked on every link, so the intersection holds (RFC 3820 4.2). */
export function checkUsages(certificate: Certificate, usage: CertificateUsage): void {
  const { where, keyUsage } = certificate;
  if (keyUsage && !keyUsage.has(keyUsageBits.digitalSignature)) {
    throw refusal('key-usage', {
      message: 'The key of a certificate is not allowed to sign.',
      where,
      found: 'keyUsage without digitalSignature',
      fix: 'Use a certificate with digitalSignature.',
    });
  }
  checkPurpose(certificate, usage);
}

const usageName = (oid: string): string => {
  const known = Object.entries(extendedUsages).find(([, value]) => value === oid);
  return known ? `${known[0]}Auth` : oid;
};

function checkPurpose({ where, extendedKeyUsage }: Certificate, usage: CertificateUsage): void {
  if (
    extendedKeyUsage &&
    !extendedKeyUsage.has(extendedUsages[usage]) &&
    !extendedKeyUsage.has(extendedUsages.any)
  ) {
    throw refusal('extended-key-usage', {
      message: `A certificate is not meant for a ${usage}.`,
      where,
      expected: `${usage}Auth`,
      found: [...extendedKeyUsage].map(usageName).join(', '),
      fix: `Use a ${usage} certificate.`,
    });
  }
}
