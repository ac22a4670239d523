import {
  DerError,
  derChildren,
  derTags,
  expectTag,
  readBitString,
  readBoolean,
  readDer,
  readInteger,
  readOid,
  readSequence,
} from './der.ts';
import { readName } from './names.ts';

export const extensionOids = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  issuerAltName: '2.5.29.18',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  certificatePolicies: '2.5.29.32',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  proxyCertInfo: '1.3.6.1.5.5.7.1.14',
  draftProxyCertInfo: '1.3.6.1.4.1.3536.1.222',
} as const;

export const proxyPolicies = {
  inheritAll: '1.3.6.1.5.5.7.21.1',
  independent: '1.3.6.1.5.5.7.21.2',
  limited: '1.3.6.1.4.1.3536.1.1.1.9',
} as const;

export const extendedUsages = {
  any: '2.5.29.37.0',
  server: '1.3.6.1.5.5.7.3.1',
  client: '1.3.6.1.5.5.7.3.2',
} as const;

export const keyUsageBits = { digitalSignature: 0, keyCertSign: 5, cRLSign: 6 } as const;

/** RFC 5280 4.2.1.9. @throws DerError. */
export function readBasicConstraints(value: Buffer): { ca: boolean; pathLength?: number } {
  const parts = readSequence(value);
  let ca = false;
  if (parts[0]?.tag === derTags.boolean) {
    ca = readBoolean(parts.shift());
    if (!ca) throw new DerError('A default value is written out (cA FALSE).');
  }
  const pathLength = parts.length > 0 ? readCount(parts.shift()) : undefined;
  if (parts.length > 0) throw new DerError('basicConstraints has parts too many.');
  if (pathLength !== undefined && !ca) throw new DerError('A path length stands beside cA FALSE.');
  return pathLength === undefined ? { ca } : { ca, pathLength };
}

/** A non-negative INTEGER below 2^31. */
function readCount(node: Parameters<typeof readInteger>[0]): number {
  const value = readInteger(node);
  if (value < 0n || value > 0x7fff_ffffn) throw new DerError(`A count of ${value} is out of range.`);
  return Number(value);
}

/** The set bits of a keyUsage (RFC 5280 4.2.1.3). @throws DerError. */
export function readKeyUsage(value: Buffer): Set<number> {
  const { bytes } = readBitString(readDer(value));
  if (bytes.length > 2) throw new DerError('keyUsage is too long.');
  const bits = new Set<number>();
  bytes.forEach((byte, index) => {
    for (let bit = 0; bit < 8; bit++) if (byte & (0x80 >> bit)) bits.add(index * 8 + bit);
  });
  if (bits.size === 0) throw new DerError('keyUsage is empty.');
  return bits;
}

/** OIDs of an extendedKeyUsage (RFC 5280 4.2.1.12). @throws DerError. */
export function readExtendedKeyUsage(value: Buffer): Set<string> {
  const usages = readSequence(value).map(readOid);
  if (usages.length === 0) throw new DerError('extendedKeyUsage is empty.');
  return new Set(usages);
}

export interface ProxyCertInfo {
  /** How many proxies may follow below; undefined is no bound. */
  pathLength?: number;
  language: string;
  hasPolicy: boolean;
}

/** RFC 3820 3.8: SEQUENCE { pCPathLenConstraint INTEGER OPTIONAL, SEQUENCE { OID, OCTET STRING OPTIONAL } }. @throws DerError. */
export function readProxyCertInfo(value: Buffer): ProxyCertInfo {
  const parts = readSequence(value);
  const pathLength = parts[0]?.tag === derTags.integer ? readCount(parts.shift()) : undefined;
  const [policy, ...more] = parts;
  const [language, bytes, ...rest] = derChildren(expectTag(policy, derTags.sequence));
  if (more.length > 0 || rest.length > 0) throw new DerError('proxyCertInfo has parts too many.');
  if (bytes) expectTag(bytes, derTags.octetString);
  return {
    ...(pathLength === undefined ? {} : { pathLength }),
    language: readOid(language),
    hasPolicy: bytes !== undefined,
  };
}

/** One GeneralName (RFC 5280 4.2.1.6): `kind` is its context tag number, `bytes` the implicit content. */
export interface GeneralName {
  kind: number;
  bytes: Buffer;
}

export const generalNameKinds = {
  otherName: 0,
  email: 1,
  dns: 2,
  directory: 4,
  uri: 6,
  ip: 7,
} as const;

/** @throws DerError. */
export function readGeneralName(bytes: Buffer): GeneralName {
  const node = readDer(bytes);
  if ((node.tag & 0xc0) !== 0x80) throw new DerError('A general name has no context tag.');
  const kind = node.tag & 0x1f;
  if (kind === generalNameKinds.directory) readName(node.content);
  return { kind, bytes: node.content };
}

/** @throws DerError. */
export function readGeneralNames(value: Buffer): GeneralName[] {
  const names = readSequence(value).map(node => readGeneralName(node.bytes));
  if (names.length === 0) throw new DerError('A list of names is empty.');
  return names;
}

export interface NameConstraints {
  permitted: GeneralName[];
  excluded: GeneralName[];
}

/** RFC 5280 4.2.1.10; minimum must be 0 and maximum absent. @throws DerError. */
export function readNameConstraints(value: Buffer): NameConstraints {
  const constraints: NameConstraints = { permitted: [], excluded: [] };
  const parts = readSequence(value);
  if (parts.length === 0) throw new DerError('nameConstraints is empty.');
  let last = -1;
  for (const part of parts) {
    const kind = part.tag === 0xa0 ? 0 : part.tag === 0xa1 ? 1 : -1;
    if (kind <= last) throw new DerError('nameConstraints has an unknown or repeated part.');
    last = kind;
    for (const subtree of derChildren(part)) {
      const [base, ...rest] = derChildren(expectTag(subtree, derTags.sequence));
      if (!base || rest.length > 0) throw new DerError('A subtree with minimum or maximum is not supported.');
      constraints[kind === 0 ? 'permitted' : 'excluded'].push(readGeneralName(base.bytes));
    }
  }
  return constraints;
}
