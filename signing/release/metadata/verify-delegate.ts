import { verify, type KeyObject } from 'node:crypto';
import type { Key, Metadata, Root, Snapshot, Targets, Timestamp } from '@tufjs/models';
import type { Role } from '@tufjs/models/dist/role.js';
import { getPublicKey } from '@tufjs/models/dist/utils/key.js';
import { signingError } from '../../errors.ts';
import { canonicalBytes } from '../../stable-json.ts';

export type AnyMetadata = Metadata<Root> | Metadata<Timestamp> | Metadata<Snapshot> | Metadata<Targets>;
export type Delegator = Metadata<Root> | Metadata<Targets>;

/**
 * Checks that enough of a role's keys, as its delegator lists them, signed its metadata (TUF 1.0.31 section 5). A key
 * counts once, by its public value: under how many key ids and in how many spellings it is listed makes no difference.
 *
 * @param refusal what the error says: the message is followed by which signatures are missing.
 * @throws E_TUF_SIGNATURE.
 */
export function verifyDelegate(
  delegator: Delegator,
  role: string,
  metadata: AnyMetadata,
  refusal: { message: string; where: string; rule: string; fix: string },
): void {
  const { keys, needs } = keysOf(delegator, role);
  if (needs === undefined) {
    throw signingError({
      ...refusal,
      code: 'E_TUF_SIGNATURE',
      message: `${refusal.message}: nobody delegates to ${role}.`,
    });
  }
  const bytes = canonicalBytes(metadata.signed.toJSON());
  const signedBy = new Set<string>();
  for (const keyId of needs.keyIDs) {
    const key = Object.hasOwn(keys, keyId) ? keys[keyId] : undefined;
    const signature = Object.hasOwn(metadata.signatures, keyId) ? metadata.signatures[keyId] : undefined;
    const signer = key && signature && signerOf(key, bytes, signature.sig);
    if (signer !== undefined) signedBy.add(signer);
  }
  if (signedBy.size >= needs.threshold) return;
  throw signingError({
    ...refusal,
    code: 'E_TUF_SIGNATURE',
    message: `${refusal.message}: ${role} was signed by ${signedBy.size}/${needs.threshold} keys.`,
    expected: `${needs.threshold} different keys`,
    found: String(signedBy.size),
  });
}

function keysOf(delegator: Delegator, role: string): { keys: Record<string, Key>; needs?: Role | undefined } {
  const { signed } = delegator;
  if ('consistentSnapshot' in signed) return { keys: signed.keys, needs: own(signed.roles, role) };
  const { keys = {}, roles, succinctRoles } = signed.delegations ?? {};
  if (roles !== undefined) return { keys, needs: own(roles, role) };
  return { keys, needs: succinctRoles?.isDelegatedRole(role) === true ? succinctRoles : undefined };
}

const own = <T>(record: Record<string, T>, name: string): T | undefined =>
  Object.hasOwn(record, name) ? record[name] : undefined;

/** The public value of a key whose signature holds; undefined for one that does not hold, or a key of no known kind. */
function signerOf(key: Key, bytes: Uint8Array, signature: string): string | undefined {
  try {
    const { hashAlgorithm, ...publicKey } = publicKeyOf(key);
    if (!verify(hashAlgorithm, bytes, publicKey, Buffer.from(signature, 'hex'))) return undefined;
    return oneForm(publicKey.key);
  } catch {
    return undefined;
  }
}

/** The public value by which keys count, whatever their ids; undefined for a key of no known kind. */
export function keyValue(key: Key): string | undefined {
  try {
    return oneForm(publicKeyOf(key).key);
  } catch {
    return undefined;
  }
}

const publicKeyOf = ({ keyType, scheme, keyVal }: Key) =>
  getPublicKey({ keyType, scheme, keyVal: keyVal.public ?? '' });

/** As JWK, in which one key has one form, whether it came as PEM or hex, with a compressed point or without. */
const oneForm = (key: KeyObject): string => JSON.stringify(key.export({ format: 'jwk' }));
