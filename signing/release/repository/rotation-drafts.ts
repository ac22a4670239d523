import { Root, Targets, type Key } from '@tufjs/models';
import { Delegations } from '@tufjs/models/dist/delegations.js';
import { DelegatedRole as ModelDelegatedRole, Role as ModelRole } from '@tufjs/models/dist/role.js';
import { authorityOf, isSignedFor, type Authority } from './authority.ts';
import { delegatedRoles, type DelegatedRole, type PeoplesRole, type Role } from '../layout.ts';
import { newestFile } from '../sign/pending.ts';
import { nextVersion } from './next-version.ts';
import type { Repository } from './repository.ts';
import { expiryDate, SPEC_VERSION } from '../metadata/role-metadata.ts';
import { trustWith, type Draft } from './stage-role.ts';

/** New root and targets as they are needed, and the roles whose signatures would no longer do. */
export function draftsFor(repository: Repository, changed: ReadonlyMap<Role, Authority>): Draft[] {
  const { config } = repository.state;
  const nowMs = repository.context.clock.now();
  const expires = (role: PeoplesRole) => expiryDate(nowMs, config[role].expiresSeconds);
  const isDelegated = (role: Role): role is DelegatedRole =>
    (delegatedRoles as readonly string[]).includes(role);
  const drafts: Draft[] = [];
  if ([...changed.keys()].some(role => !isDelegated(role))) {
    drafts.push({ role: 'root', signed: nextRoot(repository, changed, expires('root')) });
  }
  const delegates = [...changed.keys()].some(isDelegated);
  const { root } = trustWith(repository, drafts);
  if (delegates || !isSignedFor(root.metadata, 'targets', repository.targets.metadata)) {
    const signed = nextTargets(repository, changed, expires('targets'));
    drafts.push({ role: 'targets', signed });
  }
  const { targets } = trustWith(repository, drafts);
  for (const role of delegatedRoles) {
    const { metadata } = newestFile(repository, role);
    if (isSignedFor(targets.metadata, role, metadata)) continue;
    const { version, targets: files } = metadata.signed as Targets;
    const signed = new Targets({
      version: nextVersion(repository.state, role, version),
      specVersion: SPEC_VERSION,
      expires: expires(role),
      targets: files,
    });
    drafts.push({ role, signed });
  }
  return drafts;
}

function nextRoot(repository: Repository, changed: ReadonlyMap<Role, Authority>, expires: string): Root {
  const present = repository.root.metadata.signed;
  const roles = Object.fromEntries(
    Object.keys(present.roles).map(role => {
      const { keyIds, threshold } = changed.get(role as Role) ?? authorityOf(repository, role as Role);
      return [role, new ModelRole({ keyIDs: keyIds, threshold })];
    }),
  );
  return new Root({
    version: present.version + 1,
    specVersion: SPEC_VERSION,
    expires,
    consistentSnapshot: true,
    keys: keysOf(present.keys, changed, Object.values(roles)),
    roles,
  });
}

function nextTargets(
  repository: Repository,
  changed: ReadonlyMap<Role, Authority>,
  expires: string,
): Targets {
  const { version, targets, delegations } = repository.targets.metadata.signed;
  const roles = Object.fromEntries(
    Object.values(delegations?.roles ?? {}).map(({ name, terminating, paths, keyIDs, threshold }) => {
      const next = changed.get(name as Role);
      return [
        name,
        new ModelDelegatedRole({
          name,
          terminating,
          ...(paths ? { paths } : {}),
          keyIDs: next?.keyIds ?? keyIDs,
          threshold: next?.threshold ?? threshold,
        }),
      ];
    }),
  );
  return new Targets({
    version: nextVersion(repository.state, 'targets', version),
    specVersion: SPEC_VERSION,
    expires,
    targets,
    delegations: new Delegations({
      keys: keysOf(delegations?.keys ?? {}, changed, Object.values(roles)),
      roles,
    }),
  });
}

/** The keys that these roles name, no others: a removed key is gone. */
function keysOf(
  present: Record<string, Key>,
  changed: ReadonlyMap<Role, Authority>,
  roles: readonly ModelRole[],
): Record<string, Key> {
  const known = Object.assign({}, present, ...[...changed.values()].map(({ keys }) => keys)) as Record<
    string,
    Key
  >;
  const ids = [...new Set(roles.flatMap(role => role.keyIDs))];
  return Object.fromEntries(ids.map(id => [id, known[id]!]));
}
