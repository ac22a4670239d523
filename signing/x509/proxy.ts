import { createHash, createPublicKey, randomBytes, type KeyObject } from 'node:crypto';
import type { Extension } from '@peculiar/x509';
import { signingError } from '../errors.ts';
import { backdateSeconds, newKey } from './authority.ts';
import { parseCertificate } from './certificate.ts';
import { derChildren, derTags, readDer, writeDer, writeInteger, writeOid, writeSequence } from './der.ts';
import { extensionOids, proxyPolicies } from './extensions.ts';
import { writeRdn } from './names.ts';
import { toPem } from './pem.ts';

export interface ProxyOptions {
  /** DER of the certificate to delegate from and what stands above it, leaf first. */
  issuerChain: readonly Buffer[];
  issuerKey: KeyObject;
  /** Key that the proxy is for; without it a new EC P-256 key is made. */
  publicKey?: KeyObject;
  /** A limited proxy; services that start jobs refuse it. Below a limited proxy this is needed. */
  limited?: boolean;
  /** How many proxies may be made below; undefined is no bound, 0 forbids any. */
  pathLength?: number;
  validSeconds: number;
  /** Policy language OID instead of inheritAll or limited. */
  policyLanguage?: string;
  /** Epoch milliseconds; default now. */
  nowMs?: number;
}

export interface IssuedProxy {
  /** DER, leaf first: what `verifyChain` takes. */
  chain: Buffer[];
  /** The same as PEM. */
  chainPem: string;
  /** The new key, when none was given. */
  privateKey?: KeyObject;
  notAfterMs: number;
}

/**
 * Makes an RFC 3820 proxy: the issuer's subject bytes plus one numeric CN, a critical proxyCertInfo, digitalSignature, a
 * life inside its issuer's.
 *
 * @throws E_CHAIN_INVALID when the issuer cannot be read, E_KEY_UNREADABLE when the key is not the issuer's.
 */
export async function createProxy(options: ProxyOptions): Promise<IssuedProxy> {
  const build = await import('./certificate-builder.ts');
  const { issuerChain, issuerKey, limited = false, nowMs = Date.now() } = options;
  const issuer = parseCertificate(issuerChain[0] ?? Buffer.alloc(0), 'issuer of the proxy');
  if (!issuer.x509.checkPrivateKey(issuerKey)) {
    throw signingError({
      code: 'E_KEY_UNREADABLE',
      message: 'The key does not belong to the certificate that the proxy is to be made from.',
      where: issuer.where,
      fix: 'Give the key of the first certificate of the chain.',
    });
  }
  const privateKey = options.publicKey ? undefined : newKey();
  const publicKey = options.publicKey ?? createPublicKey(privateKey!);
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const language = options.policyLanguage ?? (limited ? proxyPolicies.limited : proxyPolicies.inheritAll);
  const info = writeSequence(
    ...(options.pathLength === undefined ? [] : [writeInteger(options.pathLength)]),
    writeSequence(writeOid(language)),
  );
  const extensions: Extension[] = [
    new build.Extension(extensionOids.proxyCertInfo, true, info),
    new build.KeyUsagesExtension(build.KeyUsageFlags.digitalSignature, true),
    await build.authorityKeyIdentifier(issuer),
  ];
  const startMs = Math.floor(nowMs / 1000) * 1000;
  const notAfterMs = Math.min(startMs + Math.floor(options.validSeconds) * 1000, issuer.notAfterMs);
  const der = await build.buildCertificate({
    subject: subjectBelow(issuer.subject, spki),
    issuer: issuer.subject,
    spki,
    issuerKey,
    notBeforeMs: Math.max(startMs - backdateSeconds * 1000, issuer.notBeforeMs),
    notAfterMs,
    extensions,
  });
  if (!parseCertificate(der, 'new proxy').issuer.equals(issuer.subject)) {
    throw signingError({
      code: 'E_SUBJECT_INVALID',
      message: "The issuer's subject is written in a way that cannot be repeated exactly.",
      where: issuer.where,
      fix: 'Have the certificate issued again.',
    });
  }
  const chain = [der, ...issuerChain];
  return {
    chain,
    chainPem: chain.map(link => toPem(link)).join(''),
    ...(privateKey ? { privateKey } : {}),
    notAfterMs,
  };
}

/** The number is drawn from the key and a nonce, so that sibling proxies differ (RFC 3820 3.4). */
function subjectBelow(subject: Buffer, spki: Buffer): Buffer {
  const digest = createHash('sha256').update(spki).update(randomBytes(8)).digest();
  const rdns = derChildren(readDer(subject, derTags.sequence)).map(({ bytes }) => bytes);
  return writeDer(derTags.sequence, ...rdns, writeRdn('CN', String(digest.readUInt32BE(0))));
}
