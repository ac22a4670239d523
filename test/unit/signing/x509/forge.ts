import { createPublicKey, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import {
  derTags,
  writeBitString,
  writeDer,
  writeInteger,
  writeOid,
  writeSequence,
} from '../../../../signing/x509/der.ts';
import { extensionOids, proxyPolicies } from '../../../../signing/x509/extensions.ts';
import { writeName, type NameParts } from '../../../../signing/x509/names.ts';

/** Certificates with any fault one likes: what no proper tool would write. */

export const nowMs = Date.UTC(2026, 10, 22, 12);
const hourMs = 3_600_000;

export const ecKey = (namedCurve = 'P-256'): KeyObject =>
  generateKeyPairSync('ec', { namedCurve }).privateKey;

export interface Extension {
  oid: string;
  critical: boolean;
  value: Buffer;
}

const writeBoolean = (value: boolean) => writeDer(derTags.boolean, Buffer.from([value ? 0xff : 0]));
const extension = (oid: string, critical: boolean, value: Buffer): Extension => ({ oid, critical, value });

export const basicConstraints = (ca: boolean, pathLength?: number): Extension =>
  extension(
    extensionOids.basicConstraints,
    true,
    writeSequence(
      ...(ca ? [writeBoolean(true)] : []),
      ...(pathLength === undefined ? [] : [writeInteger(pathLength)]),
    ),
  );

/** Bits of the first byte: digitalSignature 0x80, keyEncipherment 0x20, keyCertSign 0x04, cRLSign 0x02. */
export const keyUsage = (bits: number): Extension =>
  extension(
    extensionOids.keyUsage,
    true,
    writeDer(derTags.bitString, Buffer.from([bits & 0x7f ? 1 : 7, bits])),
  );

export const extendedKeyUsage = (...oids: string[]): Extension =>
  extension(extensionOids.extendedKeyUsage, false, writeSequence(...oids.map(writeOid)));

export const proxyCertInfo = (
  options: {
    pathLength?: Buffer | number;
    language?: string;
    policy?: string;
    critical?: boolean;
    oid?: string;
  } = {},
): Extension => {
  const { pathLength, language = proxyPolicies.inheritAll, policy, critical = true } = options;
  return extension(
    options.oid ?? extensionOids.proxyCertInfo,
    critical,
    writeSequence(
      ...(pathLength === undefined
        ? []
        : [typeof pathLength === 'number' ? writeInteger(pathLength) : pathLength]),
      writeSequence(
        writeOid(language),
        ...(policy === undefined ? [] : [writeDer(derTags.octetString, Buffer.from(policy))]),
      ),
    ),
  );
};

/** `kind`: context tag of a GeneralName, 2 DNS, 7 IP, 1 e-mail, 6 URI. */
export const subjectAltName = (...names: [kind: number, value: Buffer | string][]): Extension =>
  extension(
    extensionOids.subjectAltName,
    false,
    writeSequence(...names.map(([kind, value]) => writeDer(0x80 | kind, Buffer.from(value)))),
  );

export const nameConstraints = (permitted: Buffer[], excluded: Buffer[] = [], critical = true): Extension =>
  extension(
    extensionOids.nameConstraints,
    critical,
    writeSequence(
      ...(permitted.length ? [writeDer(0xa0, ...permitted.map(name => writeSequence(name)))] : []),
      ...(excluded.length ? [writeDer(0xa1, ...excluded.map(name => writeSequence(name)))] : []),
    ),
  );

export const unknownExtension = (critical: boolean): Extension =>
  extension('1.3.6.1.4.1.99999.1', critical, writeDer(derTags.null));

const algorithms: Record<string, { oid: string; hash: string | null; withNull?: boolean }> = {
  sha256: { oid: '1.2.840.10045.4.3.2', hash: 'sha256' },
  sha1: { oid: '1.2.840.10045.4.1', hash: 'sha1' },
  rsaSha256: { oid: '1.2.840.113549.1.1.11', hash: 'sha256', withNull: true },
  rsaMd5: { oid: '1.2.840.113549.1.1.4', hash: 'md5', withNull: true },
};

export interface Forged {
  der: Buffer;
  key: KeyObject;
  subject: Buffer;
}

export interface ForgeOptions {
  subject: Buffer;
  /** Signs and names; without it the certificate signs itself. */
  issuer?: Forged;
  /** Another issuer name than the signer's. */
  issuerName?: Buffer;
  key?: KeyObject;
  extensions?: Extension[];
  notBeforeMs?: number;
  notAfterMs?: number;
  version?: 1 | 3;
  serial?: Buffer;
  algorithm?: keyof typeof algorithms;
  /** Another algorithm written inside than outside. */
  innerAlgorithm?: keyof typeof algorithms;
  /** Bytes appended inside the outer SEQUENCE. */
  trailingInside?: Buffer;
  /** SubjectPublicKeyInfo as it stands, instead of the key's. */
  spki?: Buffer;
}

const algorithmDer = (name: keyof typeof algorithms) => {
  const { oid, withNull } = algorithms[name]!;
  return writeSequence(writeOid(oid), ...(withNull ? [writeDer(derTags.null)] : []));
};

const time = (ms: number) => {
  const text = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '');
  return ms < Date.UTC(2050, 0)
    ? writeDer(derTags.utcTime, Buffer.from(text.slice(2)))
    : writeDer(derTags.generalizedTime, Buffer.from(text));
};

export function forge(options: ForgeOptions): Forged {
  const key = options.key ?? ecKey();
  const signer = options.issuer?.key ?? key;
  const algorithm = options.algorithm ?? (signer.asymmetricKeyType === 'rsa' ? 'rsaSha256' : 'sha256');
  const extensions = options.extensions ?? [];
  const tbs = writeSequence(
    ...(options.version === 1 ? [] : [writeDer(0xa0, writeInteger(2))]),
    options.serial ?? writeDer(derTags.integer, Buffer.concat([Buffer.from([0x41]), randomBytes(15)])),
    algorithmDer(options.innerAlgorithm ?? algorithm),
    options.issuerName ?? options.issuer?.subject ?? options.subject,
    writeSequence(
      time(options.notBeforeMs ?? nowMs - 24 * hourMs),
      time(options.notAfterMs ?? nowMs + 24 * hourMs),
    ),
    options.subject,
    options.spki ?? createPublicKey(key).export({ type: 'spki', format: 'der' }),
    ...(extensions.length
      ? [
          writeDer(
            0xa3,
            writeSequence(
              ...extensions.map(({ oid, critical, value }) =>
                writeSequence(
                  writeOid(oid),
                  ...(critical ? [writeBoolean(true)] : []),
                  writeDer(derTags.octetString, value),
                ),
              ),
            ),
          ),
        ]
      : []),
  );
  const signature = writeBitString(sign(algorithms[algorithm]!.hash, tbs, signer));
  const der = writeSequence(
    tbs,
    algorithmDer(algorithm),
    signature,
    ...(options.trailingInside ? [options.trailingInside] : []),
  );
  return { der, key, subject: options.subject };
}

export const name = (...parts: NameParts): Buffer => writeName(parts);

const base: NameParts = [
  ['O', 'Grid'],
  ['OU', 'test'],
];
export const under = (commonName: string): Buffer => name(...base, ['CN', commonName]);
/** The name of a proxy below `parent`: its name plus CNs. */
export const proxyName = (parent: Buffer, ...commonNames: string[]): Buffer => {
  const added = Buffer.concat(commonNames.map(commonName => writeName([['CN', commonName]]).subarray(2)));
  return writeDer(derTags.sequence, parent.subarray(parent[1]! > 0x80 ? 3 : 2), added);
};

const caKey = ecKey();
const subKey = ecKey();
const aliceKey = ecKey();
const leafKeys = [ecKey(), ecKey(), ecKey(), ecKey()];

type Overrides = Partial<ForgeOptions>;

/** A root, an authority below it and a user, all in order but for what is overridden. */
export function hierarchy(overrides: { root?: Overrides; sub?: Overrides; user?: Overrides } = {}) {
  const root = forge({
    subject: under('root'),
    key: caKey,
    extensions: [basicConstraints(true), keyUsage(0x06)],
    ...overrides.root,
  });
  const sub = forge({
    subject: under('sub'),
    key: subKey,
    issuer: root,
    extensions: [basicConstraints(true, 0), keyUsage(0x06)],
    ...overrides.sub,
  });
  const user = forge({
    subject: under('alice'),
    key: aliceKey,
    issuer: sub,
    extensions: [basicConstraints(false), keyUsage(0x80)],
    ...overrides.user,
  });
  return { root, sub, user };
}

/** A proxy below `parent`, in order but for what is overridden. */
export function forgeProxy(parent: Forged, overrides: Overrides = {}, commonName = '1234'): Forged {
  return forge({
    subject: proxyName(parent.subject, commonName),
    issuer: parent,
    key: leafKeys[parent.subject.length % leafKeys.length]!,
    extensions: [proxyCertInfo(), keyUsage(0x80)],
    ...overrides,
  });
}
