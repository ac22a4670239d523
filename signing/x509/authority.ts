import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { Extension } from '@peculiar/x509';
import { signingError } from '../errors.ts';
import { parseCertificate, type Certificate } from './certificate.ts';
import { readCsr } from './csr.ts';
import { extendedUsages, extensionOids } from './extensions.ts';
import { encodeNameConstraints } from './name-constraints-encode.ts';
import { keyProblem } from './key-types.ts';
import { displayName, writeName, type NameParts } from './names.ts';
import { splitPem, toPem } from './pem.ts';

/** An authority whose key is at hand. */
export interface Authority {
  certificate: Certificate;
  certificatePem: string;
  privateKey: KeyObject;
  /** What must be sent after a certificate that it issued: itself and those above it, without the root; none for a root. */
  intermediates: Buffer[];
}

export interface AuthorityOptions {
  commonName: string;
  /** Default `Pilotage`. */
  organization?: string;
  /** Becomes the OU; every name below carries it. */
  instance: string;
  days: number;
  /** Authorities allowed below; 0 for one that issues to end entities only. */
  pathLength: number;
  /** DNS names (and names below them) that may be certified, for example `['localhost']`. */
  permittedDns?: readonly string[];
  /** Networks that may be certified, for example `['127.0.0.0/8', '::1/128']`. */
  permittedIps?: readonly string[];
  /** Restricts what it and everything below may be used for. */
  usage?: CertificatePurpose;
  /** The authority above; without it the new one is a root and signs itself. */
  issuer?: Authority;
  /** Epoch milliseconds; default now. */
  nowMs?: number;
}

export type CertificatePurpose = 'client' | 'server' | 'both';

/** A certificate just issued. */
export interface IssuedCertificate {
  certificatePem: string;
  /** The certificate and its intermediates, leaf first: what a TLS `cert` option takes. */
  chainPem: string;
  /** The same as DER, for `verifyChain`. */
  chain: Buffer[];
  dn: string;
  /** Upper-case hexadecimal. */
  serial: string;
  /** sha256 of the SubjectPublicKeyInfo, hexadecimal. */
  keyHash: string;
  notBeforeMs: number;
  notAfterMs: number;
}

export type IssueOptions = {
  authority: Authority;
  /** `[['O','Pilotage'],['OU',instance],['CN',…]]`; what a request asks for as subject does not count. */
  subject: NameParts;
  validSeconds: number;
  usage: CertificatePurpose;
  /** DNS names and IP addresses; each is written as what it looks like. */
  subjectAltNames?: readonly string[];
  /** Epoch milliseconds; default now. */
  nowMs?: number;
} & ({ csrPem: string } | { publicKey: KeyObject });

/** How far back certificates are dated, for clocks that lag. */
export const backdateSeconds = 300;

/** A new EC P-256 key, the kind this project uses for certificates. */
export const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

/**
 * Makes an authority with a new EC P-256 key (RFC 5280 4.2.1.9, .10): a root, or one below `issuer`. With
 * `permittedDns` or `permittedIps` it is name-constrained to these and to names under `/O=…/OU=instance`.
 *
 * @throws E_SUBJECT_INVALID, E_AUTHORITY_INVALID, E_AUTHORITY_EXPIRED.
 */
export async function createAuthority(options: AuthorityOptions): Promise<Authority> {
  const build = await import('./certificate-builder.ts');
  const { issuer, instance, organization = 'Pilotage', nowMs = Date.now() } = options;
  const base: NameParts = [
    ['O', organization],
    ['OU', instance],
  ];
  const subject = subjectOf([...base, ['CN', options.commonName]]);
  const privateKey = newKey();
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  const { KeyUsageFlags } = build;
  const extensions: Extension[] = [
    new build.BasicConstraintsExtension(true, options.pathLength, true),
    new build.KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    await build.subjectKeyIdentifier(spki),
    await build.authorityKeyIdentifier(issuer?.certificate ?? { spki, extensions: new Map() }),
  ];
  if (options.usage) extensions.push(new build.ExtendedKeyUsageExtension(usageOids(options.usage)));
  if (options.permittedDns || options.permittedIps) {
    const value = encodeNameConstraints({
      dns: options.permittedDns ?? [],
      ips: options.permittedIps ?? [],
      directories: [writeName(base)],
    });
    extensions.push(new build.Extension(extensionOids.nameConstraints, true, value));
  }
  const der = await build.buildCertificate({
    subject,
    issuer: issuer?.certificate.subject ?? subject,
    spki,
    issuerKey: issuer?.privateKey ?? privateKey,
    ...validity(options.days * 86_400, nowMs, issuer),
    extensions,
  });
  return {
    certificate: parseCertificate(der, `authority ${options.commonName}`),
    certificatePem: toPem(der),
    privateKey,
    intermediates: issuer ? [der, ...issuer.intermediates] : [],
  };
}

/**
 * Takes up an authority from its files: the certificate first in `certificatePem`, for one that is not a root followed by
 * those above it.
 *
 * @param where the file's name, for messages.
 * @throws E_CERTIFICATE_UNREADABLE, E_KEY_UNREADABLE, E_AUTHORITY_INVALID (no CA, or the key is another's).
 */
export function openAuthority(certificatePem: string, keyPem: string, where: string): Authority {
  const [der, ...above] = splitPem(certificatePem, where);
  const certificate = parseCertificate(der!, where);
  const privateKey = readPrivateKey(keyPem, where);
  const problem = !certificate.basicConstraints?.ca
    ? 'a certificate that is not an authority'
    : certificate.x509.checkPrivateKey(privateKey)
      ? undefined
      : 'a key that does not belong to the certificate';
  if (problem) throw invalidAuthority(where, 'the certificate of an authority and its key', problem);
  const isRoot = certificate.subject.equals(certificate.issuer);
  return {
    certificate,
    certificatePem: toPem(der!),
    privateKey,
    intermediates: isRoot ? [] : [der!, ...above],
  };
}

/** @throws E_KEY_UNREADABLE naming the file; never shows any of it. */
export function readPrivateKey(pem: string, where: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw signingError({
      code: 'E_KEY_UNREADABLE',
      message: 'The private key cannot be read.',
      where,
      expected: 'an unencrypted private key in PEM',
      fix: 'Name the key file that belongs to the certificate.',
      cause,
    });
  }
}

/**
 * Issues an end-entity certificate (CA:FALSE) for a key, whose possession `csrPem` proves. It ends with its authority at
 * the latest, and starts five minutes ago.
 *
 * @throws E_CSR_INVALID, E_SUBJECT_INVALID, E_AUTHORITY_EXPIRED, E_AUTHORITY_INVALID.
 */
export async function issueCertificate(options: IssueOptions): Promise<IssuedCertificate> {
  const build = await import('./certificate-builder.ts');
  const { authority, subjectAltNames = [], nowMs = Date.now() } = options;
  const spki = spkiOf(options);
  const { KeyUsageFlags } = build;
  const extensions: Extension[] = [
    new build.BasicConstraintsExtension(false, undefined, true),
    new build.KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new build.ExtendedKeyUsageExtension(usageOids(options.usage)),
    await build.subjectKeyIdentifier(spki),
    await build.authorityKeyIdentifier(authority.certificate),
  ];
  if (subjectAltNames.length > 0) {
    const names = subjectAltNames.map(value => ({
      type: /^[\d.]+$|:/.test(value) ? ('ip' as const) : ('dns' as const),
      value,
    }));
    extensions.push(new build.SubjectAlternativeNameExtension(names));
  }
  const der = await build.buildCertificate({
    subject: subjectOf(options.subject),
    issuer: authority.certificate.subject,
    spki,
    issuerKey: authority.privateKey,
    ...validity(options.validSeconds, nowMs, authority),
    extensions,
  });
  const certificate = parseCertificate(der, 'issued certificate');
  const chain = [der, ...authority.intermediates];
  return {
    certificatePem: toPem(der),
    chainPem: chain.map(link => toPem(link)).join(''),
    chain,
    dn: certificate.subjectDn,
    serial: certificate.serial,
    keyHash: certificate.keyHash,
    notBeforeMs: certificate.notBeforeMs,
    notAfterMs: certificate.notAfterMs,
  };
}

function spkiOf(options: IssueOptions): Buffer {
  if ('csrPem' in options) return readCsr(options.csrPem).spki;
  const spki = options.publicKey.export({ type: 'spki', format: 'der' });
  const problem = keyProblem(options.publicKey, spki);
  if (problem) throw invalidAuthority('public key', 'EC P-256/P-384, RSA 2048+ or Ed25519', problem);
  return spki;
}

const usageOids = (purpose: CertificatePurpose): string[] =>
  purpose === 'both' ? [extendedUsages.client, extendedUsages.server] : [extendedUsages[purpose]];

/** Whole seconds, because certificates know no smaller ones. */
function validity(validSeconds: number, nowMs: number, issuer?: Authority) {
  const startMs = Math.floor(nowMs / 1000) * 1000;
  const wantedMs = startMs + Math.floor(validSeconds) * 1000;
  const notBeforeMs = startMs - backdateSeconds * 1000;
  if (!issuer) return { notBeforeMs, notAfterMs: wantedMs };
  const { certificate } = issuer;
  if (nowMs > certificate.notAfterMs || nowMs < certificate.notBeforeMs) {
    throw signingError({
      code: 'E_AUTHORITY_EXPIRED',
      message: 'The authority is not valid now and cannot issue certificates.',
      where: certificate.where,
      expected: `a time from ${new Date(certificate.notBeforeMs).toISOString()} to ${new Date(certificate.notAfterMs).toISOString()}`,
      found: new Date(nowMs).toISOString(),
      fix: 'Renew the authority, or check the clock.',
    });
  }
  return {
    notBeforeMs: Math.max(notBeforeMs, certificate.notBeforeMs),
    notAfterMs: Math.min(wantedMs, certificate.notAfterMs),
  };
}

/** Bounds of RFC 5280 appendix A: 64 characters per value; no control characters. */
function subjectOf(parts: NameParts): Buffer {
  for (const [type, value] of parts) {
    if (value.length === 0 || value.length > 64 || /[\u0000-\u001f\u007f]/.test(value)) {
      throw signingError({
        code: 'E_SUBJECT_INVALID',
        message: 'A part of the subject cannot be certified.',
        where: `subject ${type}`,
        expected: '1 to 64 characters without control characters',
        found: JSON.stringify(value.slice(0, 80)),
        fix: 'Choose another name.',
      });
    }
  }
  return writeName(parts);
}

const invalidAuthority = (where: string, expected: string, found: string) =>
  signingError({
    code: 'E_AUTHORITY_INVALID',
    message: 'The authority cannot be used.',
    where,
    expected,
    found,
    fix: 'Check which files are named.',
  });

/** The slash form that a subject will have. */
export const subjectDn = (parts: NameParts): string => displayName(subjectOf(parts));
