import { X509Certificate, createHash, type KeyObject } from 'node:crypto';
import { PilotageError } from '../../lib/errors.ts';
import {
  DerError,
  assertStrictDer,
  derChildren,
  derTags,
  expectTag,
  readBitString,
  readBoolean,
  readDer,
  readInteger,
  readOid,
  readSequence,
  readTime,
  type DerNode,
} from './der.ts';
import { displayName } from './names.ts';
import {
  extensionOids,
  readBasicConstraints,
  readExtendedKeyUsage,
  readGeneralNames,
  readKeyUsage,
  readNameConstraints,
  readProxyCertInfo,
  type GeneralName,
  type NameConstraints,
  type ProxyCertInfo,
} from './extensions.ts';
import { keyProblem } from './key-types.ts';
import { refusal, type ChainRuleName } from './rules.ts';

export const maxCertificateBytes = 64 * 1024;

export interface Extension {
  critical: boolean;
  /** The DER inside the extension's OCTET STRING. */
  value: Buffer;
}

/** The parts of one certificate that a verifier needs, read from its own bytes. */
export interface Certificate {
  der: Buffer;
  /** What this certificate is called in messages: position and subject. */
  where: string;
  version: number;
  /** Upper-case hexadecimal. */
  serial: string;
  signatureAlgorithm: string;
  /** DER of the Names, for comparing; never compare display forms. */
  issuer: Buffer;
  subject: Buffer;
  /** Slash forms, escaped; for display and mapping. */
  issuerDn: string;
  subjectDn: string;
  notBeforeMs: number;
  notAfterMs: number;
  /** DER of the SubjectPublicKeyInfo, and its sha256 in hexadecimal. */
  spki: Buffer;
  keyHash: string;
  publicKey: KeyObject;
  extensions: Map<string, Extension>;
  basicConstraints?: { ca: boolean; pathLength?: number };
  keyUsage?: Set<number>;
  extendedKeyUsage?: Set<string>;
  proxyInfo?: ProxyCertInfo;
  nameConstraints?: NameConstraints;
  subjectAltNames?: GeneralName[];
  x509: X509Certificate;
}

/**
 * Reads a certificate (RFC 5280 4.1) strictly: DER only, nothing after its end, no extension twice, the extensions used by
 * the verifier well-formed, the key and its form on the whitelist. It judges nothing else: validity, signature and trust
 * are `verifyChain`'s.
 *
 * @param where what messages call it, for example `certificate 1 of 3`.
 * @throws E_CHAIN_INVALID with the rule that is broken.
 */
export function parseCertificate(der: Buffer, where: string): Certificate {
  let rule: ChainRuleName = 'strict-der';
  try {
    if (der.length > maxCertificateBytes) {
      throw refusal('chain-bounds', {
        message: 'A certificate is larger than any that belongs here.',
        where,
        found: `${der.length} bytes`,
        fix: 'Use a certificate of an ordinary size.',
      });
    }
    assertStrictDer(der);
    const parts = readCertificate(der);
    rule = 'version-3';
    if (parts.version !== 3 && parts.extensionNodes.length > 0)
      throw new DerError('Extensions need version 3.');
    rule = 'duplicate-extension';
    const extensions = readExtensions(parts.extensionNodes);
    rule = 'strict-der';
    const subjectDn = displayName(parts.subject);
    const { extensionNodes: _, ...fields } = parts;
    const x509 = new X509Certificate(der);
    rule = 'key-type';
    const { publicKey } = x509;
    const problem = keyProblem(publicKey, parts.spki);
    if (problem) throw new DerError(problem);
    rule = 'proxy-information';
    const proxyInfo = read(extensions, extensionOids.proxyCertInfo, readProxyCertInfo);
    rule = 'strict-der';
    return {
      der,
      where: `${where} (${subjectDn})`,
      ...fields,
      issuerDn: displayName(parts.issuer),
      subjectDn,
      keyHash: createHash('sha256').update(parts.spki).digest('hex'),
      publicKey,
      extensions,
      ...optional('basicConstraints', read(extensions, extensionOids.basicConstraints, readBasicConstraints)),
      ...optional('keyUsage', read(extensions, extensionOids.keyUsage, readKeyUsage)),
      ...optional('extendedKeyUsage', read(extensions, extensionOids.extendedKeyUsage, readExtendedKeyUsage)),
      ...optional('nameConstraints', read(extensions, extensionOids.nameConstraints, readNameConstraints)),
      ...optional('subjectAltNames', read(extensions, extensionOids.subjectAltName, readGeneralNames)),
      ...optional('proxyInfo', proxyInfo),
      x509,
    };
  } catch (error) {
    if (error instanceof PilotageError && !(error instanceof DerError)) throw error;
    throw refusal(rule, {
      message: 'A certificate of the chain cannot be accepted as it is encoded.',
      where,
      found: error instanceof Error ? error.message : String(error),
      fix: 'Have the certificate issued again; if it was copied, copy it again whole.',
      cause: error,
    });
  }
}

const optional = <Key extends string, Value>(key: Key, value: Value | undefined) =>
  (value === undefined ? {} : { [key]: value }) as { [K in Key]?: Value };

function read<T>(
  extensions: Map<string, Extension>,
  oid: string,
  reader: (value: Buffer) => T,
): T | undefined {
  const extension = extensions.get(oid);
  return extension && reader(extension.value);
}

function readCertificate(der: Buffer) {
  const [tbs, algorithm, signature, ...rest] = readSequence(der);
  readBitString(signature);
  if (rest.length > 0) throw new DerError('A certificate has three parts.');
  const fields = derChildren(expectTag(tbs, derTags.sequence));
  let version = 1;
  if (fields[0]?.tag === 0xa0) {
    version = Number(readInteger(readDer(fields.shift()!.content))) + 1;
    if (version !== 2 && version !== 3) throw new DerError(`There is no version ${version}.`);
  }
  const [serialNode, inner, issuer, validity, subject, spki, ...optionalParts] = fields;
  if (!inner || !algorithm || !inner.bytes.equals(algorithm.bytes)) {
    throw new DerError('The signature algorithms inside and outside differ.');
  }
  const serial = readInteger(serialNode);
  if (serialNode!.content.length > 21) throw new DerError('The serial number is too long.');
  const [notBefore, notAfter, ...times] = derChildren(expectTag(validity, derTags.sequence));
  if (times.length > 0) throw new DerError('The validity has parts too many.');
  return {
    version,
    serial: serial < 0n ? `-${(-serial).toString(16)}` : serial.toString(16).toUpperCase(),
    signatureAlgorithm: readOid(derChildren(expectTag(inner, derTags.sequence))[0]),
    issuer: expectTag(issuer, derTags.sequence).bytes,
    subject: expectTag(subject, derTags.sequence).bytes,
    notBeforeMs: readTime(notBefore),
    notAfterMs: readTime(notAfter),
    spki: expectTag(spki, derTags.sequence).bytes,
    extensionNodes: extensionNodesOf(optionalParts),
  };
}

/** issuerUniqueID [1] and subjectUniqueID [2] may stand before extensions [3]; each once and in order. */
function extensionNodesOf(parts: DerNode[]): DerNode[] {
  let last = 0;
  for (const part of parts) {
    const order = [0x81, 0x82, 0xa3].indexOf(part.tag) + 1;
    if (order <= last) throw new DerError('The certificate has an unknown or repeated part at its end.');
    last = order;
  }
  const extensions = parts.find(part => part.tag === 0xa3);
  if (!extensions) return [];
  const nodes = derChildren(readDer(extensions.content, derTags.sequence));
  if (nodes.length === 0) throw new DerError('The list of extensions is empty.');
  return nodes;
}

function readExtensions(nodes: DerNode[]): Map<string, Extension> {
  const extensions = new Map<string, Extension>();
  for (const node of nodes) {
    const parts = derChildren(expectTag(node, derTags.sequence));
    const oid = readOid(parts.shift());
    const critical = parts[0]?.tag === derTags.boolean;
    if (critical && !readBoolean(parts.shift()))
      throw new DerError('A default is written out (critical FALSE).');
    const value = expectTag(parts.shift(), derTags.octetString).content;
    if (parts.length > 0) throw new DerError(`Extension ${oid} has parts too many.`);
    if (extensions.has(oid)) throw new DerError(`Extension ${oid} stands there twice.`);
    extensions.set(oid, { critical, value });
  }
  return extensions;
}

/** True when `issuer`'s key signed `child`. Never throws: an unusable key or signature is false. */
export function isSignedBy(child: Certificate, issuer: Certificate): boolean {
  try {
    return child.x509.verify(issuer.publicKey);
  } catch {
    return false;
  }
}

/** Name and signature both point at itself. */
export const isSelfSigned = (certificate: Certificate): boolean =>
  certificate.subject.equals(certificate.issuer) && isSignedBy(certificate, certificate);
