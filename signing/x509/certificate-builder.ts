// oxlint-disable-next-line import/no-unassigned-import -- @peculiar/x509 needs it loaded before itself
import 'reflect-metadata';
import { randomBytes, type KeyObject, type webcrypto } from 'node:crypto';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  PublicKey,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { Certificate } from './certificate.ts';
import { derTags, readDer, writeDer, writeSequence } from './der.ts';
import { extensionOids } from './extensions.ts';

// The only file that loads @peculiar/x509 (and reflect-metadata before it). Import it lazily: it costs 26 MB of memory (13 MB bundled) and 0.2 s.

export {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
};

type SigningAlgorithm = webcrypto.Algorithm &
  Partial<webcrypto.EcKeyImportParams & webcrypto.RsaHashedImportParams>;

function algorithmOf(key: KeyObject): SigningAlgorithm & { hash: string } {
  if (key.asymmetricKeyType === 'ec') {
    return key.asymmetricKeyDetails?.namedCurve === 'secp384r1'
      ? { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' }
      : { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  }
  if (key.asymmetricKeyType === 'rsa') return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  return { name: 'Ed25519', hash: '' };
}

/** What a certificate is made of; names and key are DER. */
export interface CertificateTemplate {
  subject: Buffer;
  issuer: Buffer;
  spki: Buffer;
  issuerKey: KeyObject;
  notBeforeMs: number;
  notAfterMs: number;
  extensions: Extension[];
  /** Hexadecimal; default 16 random bytes. */
  serial?: string;
}

/** Builds and signs a certificate (RFC 5280 4.1) with SHA-256 (SHA-384 under a P-384 key). Returns DER. */
export async function buildCertificate(template: CertificateTemplate): Promise<Buffer> {
  const algorithm = algorithmOf(template.issuerKey);
  const signingKey = template.issuerKey.toCryptoKey(algorithm, false, ['sign']);
  const certificate = await X509CertificateGenerator.create({
    serialNumber: template.serial ?? newSerial(),
    subject: new Name(template.subject),
    issuer: new Name(template.issuer),
    notBefore: new Date(template.notBeforeMs),
    notAfter: new Date(template.notAfterMs),
    publicKey: new PublicKey(template.spki),
    signingKey,
    signingAlgorithm: algorithm,
    extensions: template.extensions,
  });
  return Buffer.from(certificate.rawData);
}

/** 16 random bytes, positive and of full length. */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return bytes.toString('hex');
}

export const subjectKeyIdentifier = (spki: Buffer) =>
  SubjectKeyIdentifierExtension.create(new PublicKey(spki));

/** Repeats the issuer's own key identifier, or the usual one of its key when it states none (RFC 5280 4.2.1.1). */
export async function authorityKeyIdentifier(
  issuer: Pick<Certificate, 'spki' | 'extensions'>,
): Promise<Extension> {
  const stated = issuer.extensions.get(extensionOids.subjectKeyIdentifier);
  if (!stated) return AuthorityKeyIdentifierExtension.create(new PublicKey(issuer.spki));
  const keyIdentifier = readDer(stated.value, derTags.octetString).content;
  const value = writeSequence(writeDer(0x80, keyIdentifier));
  return new Extension(extensionOids.authorityKeyIdentifier, false, value);
}
