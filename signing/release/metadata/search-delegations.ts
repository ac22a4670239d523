import { createHash } from 'node:crypto';
import type { Metadata, TargetFile, Targets } from '@tufjs/models';
import { signingError } from '../../errors.ts';
import { matchesPattern } from './path-pattern.ts';

/** A role and who delegates to it. */
export interface Delegation {
  role: string;
  delegator: string;
}

/** Delegated roles that are looked at for one target, at most. */
export const MAX_DELEGATIONS = 32;

/**
 * Looks for a target: the role targets, then its delegations in their order and depth first, each role once; a
 * terminating delegation ends the search behind it (TUF 1.0.31 section 5.6.7). Yields each role before it looks into it,
 * so that the caller can load it; one that `loaded` does not know then is passed over.
 *
 * @returns what the first role that lists the target says of it; undefined when none does.
 * @throws E_TARGET_UNKNOWN when the search ends at its bound.
 */
export function* searchDelegations(
  path: string,
  loaded: (role: string) => Metadata<Targets> | undefined,
  where: string,
): Generator<Delegation, TargetFile | undefined, void> {
  const visited = new Set<string>();
  let toVisit: Delegation[] = [{ role: 'targets', delegator: 'root' }];
  for (let next = toVisit.pop(); next !== undefined; next = toVisit.pop()) {
    if (visited.has(next.role)) continue;
    if (visited.size > MAX_DELEGATIONS) throw tooDeep(path, where);
    yield next;
    visited.add(next.role);
    const signed = loaded(next.role)?.signed;
    if (signed === undefined) continue;
    if (Object.hasOwn(signed.targets, path)) return signed.targets[path];
    const { roles, terminated } = rolesFor(signed, path);
    if (terminated) toVisit = [];
    for (const role of roles.reverse()) toVisit.push({ role, delegator: next.role });
  }
  return undefined;
}

/** Roles that may sign a path, in order, up to the first that ends the search. */
function rolesFor(signed: Targets, path: string): { roles: string[]; terminated: boolean } {
  const { roles: delegated, succinctRoles } = signed.delegations ?? {};
  if (delegated === undefined) {
    const bin = succinctRoles?.getRoleForTarget(path);
    return { roles: bin === undefined ? [] : [bin], terminated: bin !== undefined };
  }
  const roles: string[] = [];
  const digest = createHash('sha256').update(path).digest('hex');
  for (const { name, paths, pathHashPrefixes, terminating } of Object.values(delegated)) {
    const named = paths
      ? paths.some(pattern => matchesPattern(pattern, path))
      : pathHashPrefixes?.some(prefix => digest.startsWith(prefix));
    if (named !== true) continue;
    roles.push(name);
    if (terminating) return { roles, terminated: true };
  }
  return { roles, terminated: false };
}

const tooDeep = (path: string, where: string) =>
  signingError({
    code: 'E_TARGET_UNKNOWN',
    message: `More than ${MAX_DELEGATIONS} delegated roles would have to be asked for ${path}.`,
    where,
    rule: `at most ${MAX_DELEGATIONS} delegated roles are asked for one target`,
    fix: 'Delegate the path to fewer roles, or to one that ends the search.',
  });
