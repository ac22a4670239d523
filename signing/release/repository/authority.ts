import type { Key, Metadata, Root, Targets } from '@tufjs/models';
import type { AnyMetadata } from '../metadata/verify-delegate.ts';
import { signingError } from '../../errors.ts';
import { BARE_NODE_SCHEME } from '../../keys/key-scheme.ts';
import { delegatedRoles, type Role } from '../layout.ts';
import { delegate } from '../metadata/metadata-rules.ts';
import { keyValue } from '../metadata/verify-delegate.ts';

/** The two files that say who may sign what. */
export interface Trust {
  root: { metadata: Metadata<Root> };
  targets: { metadata: Metadata<Targets> };
}

/** Who may sign a role, as its delegator says. */
export interface Authority {
  role: Role;
  keyIds: string[];
  threshold: number;
  keys: Record<string, Key>;
}

/** Keys and threshold of a role, as its delegator says. @throws E_REPOSITORY_UNREADABLE for a role that nobody delegates. */
export function authorityOf(trust: Trust, role: Role): Authority {
  const root = trust.root.metadata.signed;
  const { delegations } = trust.targets.metadata.signed;
  const isDelegated = (delegatedRoles as readonly string[]).includes(role);
  const found = isDelegated ? delegations?.roles?.[role] : root.roles[role];
  if (!found) {
    throw signingError({
      code: 'E_REPOSITORY_UNREADABLE',
      message: `The repository knows no role "${role}".`,
      where: isDelegated ? 'targets metadata' : 'root metadata',
      fix: 'Make the repository again with this version of the program.',
    });
  }
  const keys = (isDelegated ? delegations?.keys : root.keys) ?? {};
  return { role, keyIds: found.keyIDs, threshold: found.threshold, keys };
}

/**
 * Whose signatures the next version of a role needs: for root the old keys and the new ones (TUF 1.0.31 section 6.1), for
 * others those of the delegator that will be in force.
 *
 * @returns also who should sign where they can: a `targets` that the old root accepts too lets the new root appear last.
 */
export function signersNeeded(
  role: Role,
  now: Trust,
  next: Trust,
): { required: Authority[]; wished: Authority[] } {
  const [before, after] = [authorityOf(now, role), authorityOf(next, role)];
  if (role === 'root') return { required: [before, after], wished: [] };
  return { required: [after], wished: role === 'targets' ? [before] : [] };
}

/** What an authority lacks. */
export interface Shortfall {
  authority: Authority;
  /** Signatures that count, and how many more there must be. */
  counted: number;
  missing: number;
  /** There are enough keys, but too few that bare nodes can verify. */
  isOnlyForBareNodes: boolean;
}

/**
 * The first authority that these keys do not satisfy; null when all are.
 *
 * @param bareNodes only keys that the shell bootstrap can verify count.
 */
export function shortfall(
  authorities: readonly Authority[],
  keyIds: ReadonlySet<string>,
  bareNodes: boolean,
): Shortfall | null {
  for (const authority of authorities) {
    const signing = authority.keyIds
      .filter(keyId => keyIds.has(keyId))
      .flatMap(id => authority.keys[id] ?? []);
    const counting = bareNodes ? signing.filter(key => key.scheme === BARE_NODE_SCHEME) : signing;
    const counted = differentKeys(counting);
    const missing = authority.threshold - counted;
    if (missing <= 0) continue;
    const isOnlyForBareNodes = differentKeys(signing) >= authority.threshold;
    return { authority, counted, missing, isOnlyForBareNodes };
  }
  return null;
}

/** As clients count: one key under two ids is one key. */
const differentKeys = (keys: readonly Key[]): number =>
  new Set(keys.map(keyValue).filter(value => value !== undefined)).size;

/**
 * Refuses an authority that nobody could ever satisfy, or that bare nodes could not verify.
 *
 * @throws E_KEY_SCHEME, E_THRESHOLD_NOT_MET.
 */
export function checkAuthority(authority: Authority, bareNodes: boolean): void {
  const { role, threshold, keyIds } = authority;
  const lacking = shortfall([authority], new Set(keyIds), bareNodes);
  if (!lacking) return;
  throw lacking.isOnlyForBareNodes
    ? notForBareNodes(lacking, 'has')
    : tooFewKeys(role, threshold, threshold - lacking.missing);
}

const tooFewKeys = (role: Role, threshold: number, keys: number) =>
  signingError({
    code: 'E_THRESHOLD_NOT_MET',
    message: `The role "${role}" would need ${threshold} signatures and have ${keys} keys.`,
    where: `role ${role}`,
    expected: `at least ${threshold} keys`,
    found: String(keys),
    rule: `threshold of ${role}`,
    fix: 'Add keys, or lower the threshold with --threshold.',
  });

/** Says that the ECDSA keys of a role do not reach its threshold. */
export const notForBareNodes = ({ authority, counted }: Shortfall, has: string) =>
  signingError({
    code: 'E_KEY_SCHEME',
    message: `Bare nodes could not verify the role "${authority.role}": they count ECDSA keys only, and it ${has} ${counted}.`,
    where: `role ${authority.role}`,
    expected: `${authority.threshold} keys of the scheme ${BARE_NODE_SCHEME}`,
    found: String(counted),
    rule: 'setting bareNodes of the repository',
    fix: 'Use as many EC P-256 keys as the threshold; without bare nodes, set bareNodes to false at release init.',
  });

/** Whether metadata is signed by enough of the keys that a root or targets lists for its role. */
export function isSignedFor(
  delegator: Metadata<Root> | Metadata<Targets>,
  role: Role,
  metadata: AnyMetadata,
): boolean {
  try {
    delegate(delegator, role, metadata, role);
    return true;
  } catch {
    return false;
  }
}
