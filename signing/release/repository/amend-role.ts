import { Root, Targets } from '@tufjs/models';
import type { TargetFile } from '@tufjs/models';
import type { LogEntry } from './event-log.ts';
import type { DelegatedRole, Role } from '../layout.ts';
import { nextVersion } from './next-version.ts';
import { signingState } from './publish.ts';
import { withRepository, type ReleaseContext, type Repository } from './repository.ts';
import { SPEC_VERSION } from '../metadata/role-metadata.ts';
import { stageRole } from './stage-role.ts';

/** Stages the next version of a delegated role with `changed` targets put in or replaced. */
export const amendRole = (
  repository: Repository,
  role: DelegatedRole,
  changed: readonly TargetFile[],
  event: RoleEvent,
  keyNames?: readonly string[],
): Promise<number> => {
  const { targets } = repository.roles[role].metadata.signed;
  const put = Object.fromEntries(changed.map(target => [target.path, target]));
  return stageTargets(repository, role, { ...targets, ...put }, event, keyNames);
};

/** Stages the next version of a delegated role without the targets of these paths; their bytes stay where they are. */
export const removeTargets = (
  repository: Repository,
  role: DelegatedRole,
  paths: readonly string[],
  event: RoleEvent,
  keyNames?: readonly string[],
): Promise<number> => {
  const targets = Object.entries(repository.roles[role].metadata.signed.targets);
  const kept = Object.fromEntries(targets.filter(([path]) => !paths.includes(path)));
  return stageTargets(repository, role, kept, event, keyNames);
};

/** The repository for one signing, which then tells whether that waits for the signatures of others. */
export function watchProposals(repository: Repository): {
  repository: Repository;
  isProposed: () => boolean;
} {
  let proposed = false;
  const { context } = repository;
  const onProposed = (roles: readonly string[]) => {
    proposed = true;
    context.onProposed?.(roles);
  };
  return {
    repository: { ...repository, context: { ...context, onProposed } },
    isProposed: () => proposed,
  };
}

interface RoleEvent {
  action: string;
  details?: LogEntry['details'];
}

async function stageTargets(
  repository: Repository,
  role: DelegatedRole,
  targets: Record<string, TargetFile>,
  event: RoleEvent,
  keyNames: readonly string[] | undefined,
): Promise<number> {
  const version = nextVersion(repository.state, role, repository.roles[role].metadata.signed.version);
  await stageRole(
    signingState(repository),
    { role, ...event },
    { expiresSeconds: repository.state.config[role].expiresSeconds, keyNames },
    expires => new Targets({ version, specVersion: SPEC_VERSION, expires, targets }),
  );
  return version;
}

/**
 * Signs a role again with the same content and a new expiry date; takes effect with the next publish.
 *
 * @returns `proposed`: it waits for more signatures.
 * @throws E_THRESHOLD_NOT_MET, E_KEY_MISSING, E_KEY_NOT_AUTHORIZED, E_PASSPHRASE_WRONG.
 */
export const resignRole = (
  context: ReleaseContext & { role: Exclude<Role, 'snapshot' | 'timestamp'>; keyNames?: readonly string[] },
): Promise<{ role: string; version: number; proposed: boolean }> =>
  withRepository(context, async opened => {
    const { repository, isProposed } = watchProposals(opened);
    const { role } = context;
    const { expiresSeconds } = repository.state.config[role];
    const event = { role, action: 'resign' };
    const options = { expiresSeconds, keyNames: context.keyNames };
    if (role === 'root') {
      const { keys, roles, version } = repository.root.metadata.signed;
      await stageRole(
        signingState(repository),
        event,
        options,
        expires =>
          new Root({
            version: version + 1,
            specVersion: SPEC_VERSION,
            expires,
            consistentSnapshot: true,
            keys,
            roles,
          }),
      );
      return { role, version: version + 1, proposed: isProposed() };
    }
    const file = role === 'targets' ? repository.targets : repository.roles[role];
    const { targets, delegations } = file.metadata.signed;
    const version = nextVersion(repository.state, role, file.metadata.signed.version);
    await stageRole(
      signingState(repository),
      event,
      options,
      expires =>
        new Targets({
          version,
          specVersion: SPEC_VERSION,
          expires,
          targets,
          ...(delegations ? { delegations } : {}),
        }),
    );
    return { role, version, proposed: isProposed() };
  });
