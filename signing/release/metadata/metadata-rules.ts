import { createHash } from 'node:crypto';
import type { Metadata, MetaFile, Root } from '@tufjs/models';
import { signingError } from '../../errors.ts';
import { verifyDelegate, type AnyMetadata, type Delegator } from './verify-delegate.ts';

/** Who signs timestamp and snapshot, and how many of them have to. */
export function onlineKeys({ signed }: Metadata<Root>): string {
  const keysOf = (role: 'timestamp' | 'snapshot') => {
    const { keyIDs, threshold } = signed.roles[role]!;
    return [threshold, keyIDs.toSorted().map(keyId => [keyId, signed.keys[keyId]?.keyVal.public])];
  };
  return JSON.stringify([keysOf('timestamp'), keysOf('snapshot')]);
}

/** @throws E_TUF_SIGNATURE. */
export const delegate = (delegator: Delegator, role: string, metadata: AnyMetadata, where: string): void =>
  verifyDelegate(delegator, role, metadata, {
    message: `The role "${role}" is not signed by enough of its keys`,
    where,
    rule: `threshold of ${role}`,
    fix: 'Use another cache; if all caches give this file, tell the release managers.',
  });

/** Length and hashes are checked as far as they are named (section 5.5.2); our own repository names both. @throws E_TUF_HASH. */
export function checkMeta(meta: MetaFile, bytes: Uint8Array, where: string, namedBy: string): void {
  const wrong = Object.entries(meta.hashes ?? {}).find(([kind, hash]) => hashOf(kind, bytes) !== hash);
  if (wrong === undefined && (meta.length ?? bytes.length) === bytes.length) return;
  const [kind, hash] = wrong ?? Object.entries(meta.hashes ?? {})[0] ?? ['sha256', 'any'];
  throw signingError({
    code: 'E_TUF_HASH',
    message: `The file is not the one that ${namedBy} names.`,
    where,
    expected: `${kind} ${hash}, ${meta.length ?? 'any number of'} bytes`,
    found: `${kind} ${hashOf(kind, bytes)}, ${bytes.length} bytes`,
    fix: 'Fetch it again, past the cache or from another one.',
  });
}

const hashOf = (kind: string, bytes: Uint8Array): string =>
  ['sha256', 'sha384', 'sha512'].includes(kind)
    ? createHash(kind).update(bytes).digest('hex')
    : 'of an unknown kind';

/** @throws E_TUF_ROLLBACK. */
export function checkVersion(metadata: AnyMetadata, expected: number, where: string, namedBy: string): void {
  if (metadata.signed.version === expected) return;
  throw older('E_TUF_ROLLBACK', `version that ${namedBy} asks for`, where, expected, metadata.signed.version);
}

export const older = (
  code: 'E_TUF_STALE' | 'E_TUF_ROLLBACK',
  what: string,
  where: string,
  least: number,
  found: number,
) =>
  signingError({
    code,
    message: `The ${what} is not the version that is asked for.`,
    where,
    expected: code === 'E_TUF_ROLLBACK' ? `version ${least}` : `at least ${least}`,
    found: String(found),
    rule: 'nothing older than what was seen is accepted',
    fix: 'Use another cache: this one is behind or withholds the newer version.',
  });
