import { verify, type KeyObject } from 'node:crypto';
import {
  DerError,
  derChildren,
  derTags,
  expectTag,
  readBitString,
  readDer,
  readOid,
  readTime,
} from '../x509/der.ts';

/** What is read of a certificate revocation list; which certificates it revokes is for whoever verifies chains. */
export interface Crl {
  der: Buffer;
  /** DER of the issuer's Name. */
  issuer: Buffer;
  thisUpdateMs: number;
  /** Null where it names none: it never runs out. */
  nextUpdateMs: number | null;
  /** The signed part, how it is signed, and the signature. */
  signed: Buffer;
  algorithm: string;
  signature: Buffer;
}

/** Hash function by signature algorithm; the key says the rest. */
const digests: Record<string, string> = {
  '1.2.840.113549.1.1.5': 'sha1',
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
};

/** Reads a CertificateList (RFC 5280 5.1). @throws DerError. */
export function parseCrl(der: Buffer): Crl {
  const [list, algorithm, signature] = derChildren(readDer(der, derTags.sequence));
  const parts = derChildren(expectTag(list, derTags.sequence));
  if (parts[0]?.tag === derTags.integer) parts.shift();
  const [, issuer, thisUpdate, next] = parts;
  const isTime = next?.tag === derTags.utcTime || next?.tag === derTags.generalizedTime;
  const oid = readOid(derChildren(expectTag(algorithm, derTags.sequence))[0]);
  return {
    der,
    issuer: expectTag(issuer, derTags.sequence).bytes,
    thisUpdateMs: readTime(thisUpdate),
    nextUpdateMs: isTime ? readTime(next) : null,
    signed: list!.bytes,
    algorithm: oid,
    signature: readBitString(signature).bytes,
  };
}

/** Whether the list was signed with this key. @throws DerError for an algorithm that is not known here. */
export function isCrlSignedBy(crl: Crl, key: KeyObject): boolean {
  const digest = digests[crl.algorithm];
  if (digest === undefined) throw new DerError(`The signature algorithm ${crl.algorithm} is not known.`);
  return verify(digest, crl.signed, key, crl.signature);
}
