import { createHash, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { PilotageError } from '../../lib/errors.ts';
import { signingError } from '../errors.ts';
import {
  DerError,
  assertStrictDer,
  derChildren,
  derTags,
  expectTag,
  readBitString,
  readInteger,
  readOid,
  readSequence,
  writeBitString,
  writeDer,
  writeInteger,
  writeOid,
  writeSequence,
} from './der.ts';
import { keyProblem } from './key-types.ts';
import { displayName, writeName, type NameParts } from './names.ts';
import { toPem } from './pem.ts';

const maxCsrBytes = 16 * 1024;
const requestBlock =
  /^\s*-----BEGIN (NEW )?CERTIFICATE REQUEST-----\s([A-Za-z0-9+/=\s]+)-----END (NEW )?CERTIFICATE REQUEST-----\s*$/;

const derNull = writeDer(derTags.null);

/** Signature algorithms a request may carry: OID, digest for node:crypto, key type, and how we write them. */
const algorithms = [
  { oid: '1.2.840.10045.4.3.2', hash: 'sha256', type: 'ec', parameters: [] },
  { oid: '1.2.840.10045.4.3.3', hash: 'sha384', type: 'ec', parameters: [] },
  { oid: '1.2.840.10045.4.3.4', hash: 'sha512', type: 'ec', parameters: [] },
  { oid: '1.2.840.113549.1.1.11', hash: 'sha256', type: 'rsa', parameters: [derNull] },
  { oid: '1.2.840.113549.1.1.12', hash: 'sha384', type: 'rsa', parameters: [derNull] },
  { oid: '1.2.840.113549.1.1.13', hash: 'sha512', type: 'rsa', parameters: [derNull] },
  { oid: '1.3.101.112', hash: null, type: 'ed25519', parameters: [] },
];

/**
 * Writes a certificate request (RFC 2986) signed with the key it is for. Written with our own DER, not with
 * @peculiar/x509, because the agent needs it at its start: that
 * library costs 13 MB of memory there and 340 kB of bundle, this 6 kB.
 *
 * @param options.subject `[['O','Pilotage'],['OU',instance],['CN',…]]`; authorities here set the subject themselves.
 * @returns PEM.
 * @throws E_CSR_INVALID when the key type is not accepted.
 */
export function createCsr(options: { privateKey: KeyObject; subject: NameParts }): string {
  const { privateKey, subject } = options;
  const publicKey = createPublicKey(privateKey);
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const problem = keyProblem(publicKey, spki);
  const algorithm = algorithms.find(({ type }) => type === privateKey.asymmetricKeyType);
  if (problem || !algorithm) throw invalid(problem ?? 'This key type cannot sign a request.');
  const info = writeSequence(writeInteger(0), writeName(subject), spki, writeDer(0xa0));
  return toPem(
    writeSequence(
      info,
      writeSequence(writeOid(algorithm.oid), ...algorithm.parameters),
      writeBitString(sign(algorithm.hash, info, privateKey)),
    ),
    'CERTIFICATE REQUEST',
  );
}

/** A request whose sender has proved to hold the key. Its subject is what it asks for, not what it gets. */
export interface CertificateRequest {
  publicKey: KeyObject;
  /** sha256 of the SubjectPublicKeyInfo, hexadecimal; the same as `Certificate.keyHash` of what is issued. */
  keyHash: string;
  spki: Buffer;
  subjectDn: string;
}

/**
 * Reads a certificate request and checks its signature by its own key: one PEM block of at most 16 KiB, strict DER, key
 * type and hash on the whitelist. Attributes (requested extensions) are ignored.
 *
 * @throws E_CSR_INVALID.
 */
export function readCsr(pem: string): CertificateRequest {
  if (pem.length > maxCsrBytes) throw invalid(`${pem.length} bytes`);
  const block = requestBlock.exec(pem);
  if (!block) throw invalid('There is not exactly one PEM block CERTIFICATE REQUEST.');
  try {
    return parseCsr(Buffer.from(block[2]!, 'base64'));
  } catch (error) {
    if (error instanceof PilotageError && !(error instanceof DerError)) throw error;
    throw invalid(error instanceof Error ? error.message : String(error), error);
  }
}

function parseCsr(der: Buffer): CertificateRequest {
  assertStrictDer(der);
  const [info, algorithmNode, signature, ...rest] = readSequence(der);
  const [version, subject, spki, ...attributes] = derChildren(expectTag(info, derTags.sequence));
  if (rest.length > 0 || attributes.length > 1 || readInteger(version) !== 0n) {
    throw new DerError('The parts of the request are not those of PKCS#10 version 1.');
  }
  if (attributes[0]) expectTag(attributes[0], 0xa0);
  const spkiBytes = expectTag(spki, derTags.sequence).bytes;
  const publicKey = createPublicKey({ key: spkiBytes, type: 'spki', format: 'der' });
  const problem = keyProblem(publicKey, spkiBytes);
  if (problem) throw new DerError(problem);
  const oid = readOid(derChildren(expectTag(algorithmNode, derTags.sequence))[0]);
  const algorithm = algorithms.find(known => known.oid === oid && known.type === publicKey.asymmetricKeyType);
  if (!algorithm) throw new DerError(`Signature algorithm ${oid} is not accepted.`);
  const { bytes, unusedBits } = readBitString(signature);
  if (unusedBits !== 0 || !verify(algorithm.hash, info!.bytes, publicKey, bytes)) {
    throw new DerError('The signature does not fit the key: the sender does not hold it.');
  }
  return {
    publicKey,
    spki: spkiBytes,
    keyHash: createHash('sha256').update(spkiBytes).digest('hex'),
    subjectDn: displayName(expectTag(subject, derTags.sequence).bytes),
  };
}

const invalid = (found: string, cause?: unknown) =>
  signingError({
    code: 'E_CSR_INVALID',
    message: 'The certificate request cannot be accepted.',
    where: 'certificate request',
    expected:
      'one PKCS#10 request in PEM, signed by its own EC P-256/P-384, RSA (2048 bits or more) or Ed25519 key',
    found,
    rule: 'certificate-request: RFC 2986 4',
    fix: 'Make a new request, for example with openssl req -new.',
    cause,
  });
