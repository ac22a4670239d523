import {
  DerError,
  derChildren,
  derTags,
  expectTag,
  readDer,
  readOid,
  writeDer,
  writeOid,
  writeSequence,
  type DerNode,
} from './der.ts';

/** One attribute of a distinguished name; `value` is the decoded text, `raw` the DER of the value. */
export interface NameAttribute {
  type: string;
  value: string;
  raw: Buffer;
}

const shortNames: Record<string, string> = {
  '2.5.4.3': 'CN',
  '2.5.4.4': 'SN',
  '2.5.4.5': 'serialNumber',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.9': 'street',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
  '2.5.4.12': 'title',
  '2.5.4.42': 'GN',
  '0.9.2342.19200300.100.1.1': 'UID',
  '0.9.2342.19200300.100.1.25': 'DC',
  '1.2.840.113549.1.9.1': 'emailAddress',
};
const longForms = new Map(Object.entries(shortNames).map(([oid, name]) => [name, oid]));

export const commonNameOid = '2.5.4.3';
export const emailOid = '1.2.840.113549.1.9.1';
/** Attributes of a name, RDN by RDN, as pairs: `[['O','Pilotage'],['CN','alice']]`. */
export type NameParts = readonly (readonly [string, string])[];

const MAX_RDNS = 40;
const MAX_NAME_BYTES = 2048;

/** Reads a Name (RFC 5280 4.1.2.4) into its RDNs. @throws DerError. */
export function readName(bytes: Buffer): NameAttribute[][] {
  if (bytes.length > MAX_NAME_BYTES) throw new DerError('A name is too long.');
  const rdns = derChildren(readDer(bytes, derTags.sequence));
  if (rdns.length > MAX_RDNS) throw new DerError('A name has too many parts.');
  return rdns.map(rdn => {
    const attributes = derChildren(expectTag(rdn, derTags.set));
    if (attributes.length === 0) throw new DerError('A part of a name is empty.');
    return attributes.map(attribute => {
      const [type, value, ...rest] = derChildren(expectTag(attribute, derTags.sequence));
      if (!value || rest.length > 0) throw new DerError('A part of a name is not a type and a value.');
      return { type: readOid(type), value: readText(value), raw: value.bytes };
    });
  });
}

function readText(node: DerNode): string {
  switch (node.tag) {
    case derTags.utf8String:
      return decode('utf-8', node.content);
    case derTags.bmpString:
      return decode('utf-16be', node.content);
    case derTags.printableString:
    case derTags.numericString:
    case derTags.visibleString:
    case derTags.ia5String:
    case derTags.teletexString:
      return node.content.toString('latin1');
    default:
      return `#${node.bytes.toString('hex')}`;
  }
}

function decode(encoding: string, bytes: Buffer): string {
  try {
    return new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new DerError(`A name holds text that is not ${encoding}.`);
  }
}

/**
 * A value as OpenSSL's oneline form and grid-mapfiles write it, but without its ambiguity: whatever is not printable
 * ASCII, and `/`, `+`, `\` and a leading `#` too, becomes `\xHH` (of UTF-8), so that no value can pass for a further part of
 * the name, nor for the `#hex` of a value that is no text.
 */
const escapeValue = (value: string): string =>
  [...Buffer.from(value, 'utf8')]
    .map((byte, index) =>
      byte < 0x20 ||
      byte > 0x7e ||
      byte === 0x2f ||
      byte === 0x5c ||
      byte === 0x2b ||
      (index === 0 && byte === 0x23)
        ? `\\x${byte.toString(16).toUpperCase().padStart(2, '0')}`
        : String.fromCharCode(byte),
    )
    .join('');

/** The slash form of a Name's DER, for people and for mapping: `/O=Pilotage/OU=demo/CN=alice`. @throws DerError. */
export const displayName = (bytes: Buffer): string =>
  readName(bytes)
    .map(
      rdn =>
        `/${rdn.map(({ type, value }) => `${shortNames[type] ?? type}=${escapeValue(value)}`).join('+')}`,
    )
    .join('');

/** The DER of one RDN holding one UTF8String attribute (IA5String for DC and emailAddress). */
export function writeRdn(type: string, value: string): Buffer {
  const oid = longForms.get(type) ?? type;
  const tag = oid === emailOid || oid === longForms.get('DC') ? derTags.ia5String : derTags.utf8String;
  return writeDer(derTags.set, writeSequence(writeOid(oid), writeDer(tag, Buffer.from(value, 'utf8'))));
}

/** The DER of a Name of single-valued RDNs. */
export const writeName = (parts: NameParts): Buffer =>
  writeSequence(...parts.map(([type, value]) => writeRdn(type, value)));
