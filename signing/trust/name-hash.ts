import { createHash } from 'node:crypto';
import { derTags, writeDer, writeOid, writeSequence } from '../x509/der.ts';
import { readName } from '../x509/names.ts';
import type { NameAttribute } from '../x509/names.ts';

/**
 * The names under which OpenSSL looks for an authority in a directory (`X509_NAME_hash` of 1.0.0 and later, and the one
 * before it, which old grid middleware uses): eight hexadecimal digits each.
 *
 * @param name DER of the subject. @throws DerError.
 */
export function subjectHashes(name: Buffer): { current: string; old: string } {
  return {
    current: firstWord(createHash('sha1').update(canonicalName(name)).digest()),
    old: firstWord(createHash('md5').update(name).digest()),
  };
}

const firstWord = (digest: Buffer): string => digest.readUInt32LE(0).toString(16).padStart(8, '0');

/** Its RDNs one after the other, without the SEQUENCE around them, text in one form (crypto/x509/x_name.c). */
const canonicalName = (name: Buffer): Buffer =>
  Buffer.concat(
    readName(name).map(rdn =>
      writeDer(derTags.set, ...rdn.map(canonicalAttribute).toSorted((a, b) => a.compare(b))),
    ),
  );

/** What OpenSSL compares as text; anything else stays as it is. */
const TEXT: ReadonlySet<number> = new Set([
  derTags.utf8String,
  derTags.bmpString,
  derTags.printableString,
  derTags.teletexString,
  derTags.ia5String,
  derTags.visibleString,
]);

function canonicalAttribute({ type, value, raw }: NameAttribute): Buffer {
  if (!TEXT.has(raw[0]!)) return writeSequence(writeOid(type), raw);
  // ASCII spaces and letters only, as OpenSSL does it.
  const text = value
    .replace(/^[\t-\r ]+|[\t-\r ]+$/g, '')
    .replace(/[\t-\r ]+/g, ' ')
    .replace(/[A-Z]/g, letter => letter.toLowerCase());
  return writeSequence(writeOid(type), writeDer(derTags.utf8String, Buffer.from(text, 'utf8')));
}
