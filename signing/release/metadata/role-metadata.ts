import { createHash } from 'node:crypto';
import { Metadata, MetaFile, Signature, TargetFile } from '@tufjs/models';
import type { MetadataKind, Root, Snapshot, Targets, Timestamp } from '@tufjs/models';
import { signingError } from '../../errors.ts';
import type { Signer } from '../../keys/signer.ts';
import { canonicalBytes, stableJson } from '../../stable-json.ts';
import type { Role } from '../layout.ts';

export const SPEC_VERSION = '1.0.31';
/** More than any metadata file here can need. */
export const MAX_METADATA_BYTES = 8 * 2 ** 20;

interface SignedOf {
  root: Root;
  targets: Targets;
  snapshot: Snapshot;
  timestamp: Timestamp;
}
export type MetadataType = keyof SignedOf;
export type AnySigned = SignedOf[MetadataType];

/** Delegated roles have the type `targets`. */
export const typeOf = (role: Role): MetadataType =>
  role === 'root' || role === 'snapshot' || role === 'timestamp' ? role : 'targets';

/**
 * Parses metadata without judging its signatures.
 *
 * @param where file (and cache) to name in errors.
 * @throws E_TUF_FORMAT.
 */
export function parseMetadata<T extends MetadataType>(
  type: T,
  bytes: Uint8Array,
  where: string,
): Metadata<SignedOf[T]> {
  try {
    if (bytes.length > MAX_METADATA_BYTES) throw new Error(`it is larger than ${MAX_METADATA_BYTES} bytes`);
    const data: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    const metadata = Metadata.fromJSON(type as MetadataKind.Root, data as never) as unknown as Metadata<
      SignedOf[T]
    >;
    if (!Number.isSafeInteger(metadata.signed.version) || metadata.signed.version < 1) {
      throw new Error(`its version is ${metadata.signed.version}`);
    }
    // Hex has one spelling here, so that no byte of a file can change without being noticed. Empty: one who did not sign.
    if (Object.values(metadata.signatures).some(({ sig }) => !/^[0-9a-f]*$/.test(sig))) {
      throw new Error('a signature is not lower-case hex');
    }
    return metadata;
  } catch (error) {
    throw signingError({
      code: 'E_TUF_FORMAT',
      message: `The file is not valid ${type} metadata: ${(error as Error).message}.`,
      where,
      fix: 'Use another cache; if it is the repository itself, restore the file from a mirror.',
      cause: error,
    });
  }
}

/** Signs and gives the file as it is published: minified, sorted, signatures ordered by key id. */
export async function signMetadata(signed: AnySigned, signers: readonly Signer[]): Promise<Buffer> {
  const body = signed.toJSON();
  const bytes = canonicalBytes(body);
  const signatures: ReturnType<Signature['toJSON']>[] = [];
  for (const signer of [...signers].sort((a, b) => (a.keyId < b.keyId ? -1 : 1))) {
    const sig = (await signer.sign(bytes)).toString('hex');
    signatures.push(new Signature({ keyID: signer.keyId, sig }).toJSON());
  }
  return stableJson({ signatures, signed: body });
}

/** TUF's date-time: whole seconds, UTC (TUF 1.0.31 section 4.2.1). */
export const expiryDate = (nowMs: number, seconds: number): string =>
  new Date(Math.floor(nowMs / 1000 + seconds) * 1000).toISOString().replace('.000Z', 'Z');

export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Entry of snapshot or timestamp for a file: version, length and hash, so that a cache can check it too. */
export const metaFile = (version: number, bytes: Uint8Array): MetaFile =>
  new MetaFile({ version, length: bytes.length, hashes: { sha256: sha256Of(bytes) } });

/** A target with exactly one hash; `custom` left out when empty. */
export const targetFile = (parts: {
  path: string;
  length: number;
  sha256: string;
  custom?: Record<string, unknown>;
}): TargetFile =>
  new TargetFile({
    path: parts.path,
    length: parts.length,
    hashes: { sha256: parts.sha256 },
    unrecognizedFields: parts.custom === undefined ? {} : { custom: parts.custom as never },
  });
